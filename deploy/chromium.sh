#!/usr/bin/env bash
# Prints the program of a Chromium to test with: the machine's own, else Debian's package and what it needs, unpacked below
# .venv; the one that has no window, for it takes a quarter less of the processor. Nothing else is touched, and no root is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
for name in chromium-headless-shell chromium chromium-browser google-chrome; do
  if command -v "$name"; then exit; fi
done
# its real place: .venv may be a link from a worktree that is gone tomorrow
place=$(realpath .venv)/chromium-headless-shell
if [ ! -x "$place/run" ]; then
  bash deploy/debian.sh "$place" chromium-headless-shell fonts-liberation
  {
    echo '<?xml version="1.0"?><fontconfig>'
    echo "<dir>$place/root/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>$place/fonts</cachedir>"
    for alias in sans-serif:Sans Inter:Sans Helvetica:Sans Arial:Sans serif:Serif monospace:Mono; do
      echo "<alias binding=\"strong\"><family>${alias%:*}</family><prefer><family>Liberation ${alias#*:}</family></prefer></alias>"
    done
    echo '</fontconfig>'
  } > "$place/fonts.conf"
  libraries=$(find "$place/root/usr/lib" -name '*.so*' -printf '%h\n' | sort -u | tr '\n' ':')
  cat > "$place/run" <<SH
#!/bin/sh
export LD_LIBRARY_PATH="$libraries\$LD_LIBRARY_PATH" FONTCONFIG_FILE="$place/fonts.conf"
exec "$place/root/usr/lib/chromium/chromium-headless-shell" "\$@"
SH
  chmod +x "$place/run"
fi
echo "$place/run"
