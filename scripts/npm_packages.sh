#!/usr/bin/env bash
# What building and testing the browser tracker takes, by npm, as locked: its tools, and the trackers
# of other products that tests send events with. Only those who change the tracker or the collector
# need them: the built scripts are part of the package. Where they cannot be installed, the tests that
# need them are skipped.
set -uo pipefail
cd "$(dirname "$0")/.."

if ! command -v npm >/dev/null 2>&1; then
  echo "npm is not installed: tests in a browser are skipped." >&2
  exit 0
fi
for folder in clickstream_platform/collection/tracker clickstream_platform_tests/collection/clients; do
  # npm writes this file last.
  [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ] && continue
  npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
    echo "npm ci failed in $folder: tests that need it are skipped." >&2
done
exit 0
