#!/usr/bin/env bash
# Make the virtual environment: PYTHON, then its folder. Needs Python 3.11 or newer.
set -euo pipefail
python=$1
venv=$2
if ! command -v "$python" >/dev/null; then
  echo "setup: there is no $python here; install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "setup: $("$python" --version 2>&1) is too old; sharedip needs Python 3.11 or newer" >&2
  echo "setup: where a newer one is packaged: apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11 …" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  # Debian ships each Python without ensurepip; the package of its own version brings it.
  bash "$(dirname "$0")/packages.sh" "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
echo "setup: making $venv"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-virtualenv -r requirements-dev.txt
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-virtualenv --no-deps -e . -e ./lab
# Byte code makes the agent ready in half the time, also where PYTHONDONTWRITEBYTECODE is set.
"$venv/bin/python" -m compileall -q src lab/sharedip_lab
touch "$venv/.ready"
