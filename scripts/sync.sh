#!/usr/bin/env bash
# Make .venv hold what uv.lock says. Arguments go to `uv sync`, such as `--extra spark`.
# Needs Python 3.11 or newer and the network, once; uv itself comes from PyPI where it is absent.
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=${PYTHON:-python3}

# uv keeps its cache in the home folder; a service account may have none that it can write to.
if [ ! -w "${HOME:-/nonexistent}" ]; then
  export UV_CACHE_DIR="${UV_CACHE_DIR:-$PWD/.venv/.uv-cache}"
fi

if uv --version >/dev/null 2>&1; then
  uv=uv
else
  uv=.venv/bin/uv
  if ! "$uv" --version >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
      echo "Python 3.11 or newer is needed; '$python' is older or absent. Try PYTHON=python3.12 make …" >&2
      exit 1
    }
    "$python" -m venv .venv || {
      echo "'$python -m venv' does not work. On Debian and Ubuntu: apt-get install python3-venv" >&2
      exit 1
    }
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
  fi
fi

# --inexact keeps what another target has installed (and uv itself) in the same .venv.
exec "$uv" sync --frozen --inexact "$@"
