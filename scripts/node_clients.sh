#!/usr/bin/env bash
# The real clients that the collector is tested with, in a cache folder outside the checkout, and
# only once. Where there is no npm or no network, the tests that need them are skipped.
set -uo pipefail

folder="${CLICKSTREAM_NODE_CLIENTS:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/clickstream-platform/node-clients}"
packages=(@snowplow/node-tracker@4.8.0 @segment/analytics-node@3.1.0 posthog-node@5.70.0)

[ -e "$folder/.ready-${packages[*]//[\/@ ]/_}" ] && exit 0
command -v npm >/dev/null 2>&1 || { echo "npm is not installed: tests with real clients are skipped." >&2; exit 0; }
mkdir -p "$folder"
if (cd "$folder" && npm install --silent --no-audit --no-fund --ignore-scripts --prefix . "${packages[@]}" >/dev/null 2>&1); then
  touch "$folder/.ready-${packages[*]//[\/@ ]/_}"
else
  echo "Could not install the clients from npm: tests with real clients are skipped." >&2
fi
