#!/usr/bin/env bash
# elsewhere.sh RELEASE [TARGET...]: `make TARGET` (demo, if none is named) of the commit that is checked out, by a new user of a new
# machine: an empty Debian of that release, with Python, make and git alone. bookworm has Python 3.11, trixie 3.13, sid the newest.
# Needs root and debootstrap. The machine is a folder below /var/tmp (or LOGSTREAM_ELSEWHERE), made once; its processes end with this.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
release=$1
shift
command -v debootstrap >/dev/null || { echo "error: debootstrap is not here; apt-get install debootstrap" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "error: only root can make a machine in a folder" >&2; exit 2; }
place=${LOGSTREAM_ELSEWHERE:-/var/tmp/logstream-elsewhere}/$release
if [ ! -e "$place/.made" ]; then
  rm -rf "$place"
  mkdir -p "$place"
  debootstrap --variant=minbase --include=python3,python3-venv,make,git,ca-certificates "$release" "$place" http://deb.debian.org/debian
  # what this machine trusts, and whom it asks for names: a proxy's own authority may be among them
  cp /usr/local/share/ca-certificates/*.crt "$place/usr/local/share/ca-certificates/" 2>/dev/null || true
  chroot "$place" update-ca-certificates
  chroot "$place" useradd --create-home --shell /bin/bash dev
  touch "$place/.made"
fi
cp /etc/resolv.conf "$place/etc/resolv.conf"
rm -rf "$place/home/dev/logstream"
git clone --quiet . "$place/home/dev/logstream"
chroot "$place" chown -R dev:dev /home/dev
authorities=/etc/ssl/certs/ca-certificates.crt
# namespaces of its own: mounts and processes are gone when it ends, however it ends
exec unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
  place=$1 authorities=$2
  shift 2
  mount --make-rprivate /
  mount -t proc proc "$place/proc"
  mount --rbind /dev "$place/dev"
  mount --rbind /sys "$place/sys"
  # not by exec: the first process of a machine buries those that nobody waits for
  chroot "$place" su --login dev --shell /bin/bash --command \
    "cd logstream && python3 --version && LANG=C.UTF-8 PIP_CERT=$authorities npm_config_cafile=$authorities make $*"
  exit $?
' elsewhere "$place" "$authorities" "${@:-demo}"
