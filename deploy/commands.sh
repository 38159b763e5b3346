#!/usr/bin/env bash
# Prints a folder with the commands of others that the pages show, curl and jq: the machine's own, else Debian's, unpacked below .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9>"$PWD/.venv/.commands.lock"
flock 9 # tests on several workers ask at once
place=$(realpath .venv)/commands
mkdir -p "$place/bin"
for name in curl jq; do
  if found=$(command -v "$name") && [ "$found" != "$place/bin/$name" ]; then
    ln -sfn "$found" "$place/bin/$name"
  elif [ ! -x "$place/bin/$name" ]; then
    bash deploy/debian.sh "$place/$name" "$name"
    libraries=$(find "$place/$name/root" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
    printf '#!/bin/sh\nLD_LIBRARY_PATH="%s$LD_LIBRARY_PATH" exec "%s/root/usr/bin/%s" "$@"\n' "$libraries" "$place/$name" "$name" \
      > "$place/bin/$name"
    chmod +x "$place/bin/$name"
  fi
done
echo "$place/bin"
