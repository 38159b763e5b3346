#!/usr/bin/env bash
# Prints where the tests find nginx, tinyproxy and libnss_wrapper, a line each: the machine's own, else Debian's packages unpacked
# below .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9>"$PWD/.venv/.network.lock"
flock 9 # tests on several workers ask at once
wrapper=/usr/lib/$(uname -m)-linux-gnu/libnss_wrapper.so
wanted=(/usr/sbin/nginx /usr/bin/tinyproxy "$wrapper")
root=
for file in "${wanted[@]}"; do
  [ -e "$file" ] || root=$PWD/.venv/network/root
done
[ -z "$root" ] || bash deploy/debian.sh "$PWD/.venv/network" nginx tinyproxy-bin libnss-wrapper
printf "$root%s\n" "${wanted[@]}"
