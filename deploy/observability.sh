#!/usr/bin/env bash
# Prints where the tests find promtool: the machine's own, else Debian's `prometheus`, unpacked below .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9>"$PWD/.venv/.observability.lock"
flock 9 # tests on several workers ask at once
program=/usr/bin/promtool
if [ ! -x "$program" ]; then
  place=$PWD/.venv/observability program=$PWD/.venv/observability/root$program
  [ -x "$program" ] || bash deploy/debian.sh "$place" prometheus
fi
echo "$program"
