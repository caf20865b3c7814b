#!/usr/bin/env bash
# What building and testing the browser tracker takes, by npm, as locked. Only those who change the
# tracker need it: the built scripts are part of the package. Where it cannot be installed, the tests
# that need it are skipped.
set -uo pipefail
cd "$(dirname "$0")/../clickstream_platform/collection/tracker"

if ! command -v npm >/dev/null 2>&1; then
  echo "npm is not installed: tests of the tracker in a browser are skipped." >&2
  exit 0
fi
# npm writes this file last.
[ node_modules/.package-lock.json -nt package-lock.json ] && exit 0
npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
  echo "npm ci failed: tests of the tracker in a browser are skipped." >&2
exit 0
