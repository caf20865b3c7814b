#!/usr/bin/env bash
# What the tests use beside Python: Java for Spark, Chromium to look at the report and to run the
# tracker, Node to drive it, strace to see that the collector syncs before it answers; wrk and nginx
# are for its benchmark. Installed where that is possible without asking anybody; where it is not, the
# tests that need them are skipped.
set -uo pipefail

missing=()
command -v java >/dev/null 2>&1 || [ -n "${JAVA_HOME:-}" ] || missing+=(openjdk-17-jre-headless)
command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || missing+=(chromium)
command -v node >/dev/null 2>&1 || missing+=(nodejs)
command -v npm >/dev/null 2>&1 || missing+=(npm)
for tool in strace wrk nginx; do
  command -v "$tool" >/dev/null 2>&1 || [ -x "/usr/sbin/$tool" ] || missing+=("$tool")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  for package in "${missing[@]}"; do
    apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
      echo "Could not install $package: tests that need it are skipped." >&2
  done
else
  echo "Not installed: ${missing[*]}. Tests that need them are skipped; install them to run all." >&2
fi
