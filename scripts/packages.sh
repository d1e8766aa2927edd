#!/usr/bin/env bash
# Install the Debian packages that are missing; say what to do where that is not possible. Quick when nothing is missing.
set -euo pipefail
missing=()
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
  echo "setup: this is not Debian or Ubuntu; install these yourself: ${missing[*]}" >&2
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: as root, run: apt-get install ${missing[*]}" >&2
  exit 0
fi
echo "setup: installing ${missing[*]}"
# Without this, Debian would start an etcd and a keepalived of its own on this machine.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
log=$(mktemp)
if ! { apt-get -q update && apt-get -q install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -20 "$log" >&2
  echo "setup: apt-get failed; the whole output is in $log" >&2
  exit 1
fi
rm -f "$log"
