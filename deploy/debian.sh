#!/usr/bin/env bash
# debian.sh PLACE PACKAGE...: unpacks Debian's packages, and what they need that this machine has not, below PLACE/root.
# Of `ONE|OTHER` the first is taken that this release of Debian has. Nothing else is touched, and no root is needed. What is there
# already stays.
set -euo pipefail
place=$1
shift
[ ! -e "$place/.unpacked" ] || exit 0
command -v apt-get >/dev/null || { echo "error: there is no apt-get here to fetch $* with; install them" >&2; exit 1; }
rm -rf "$place"
mkdir -p "$place"/apt/lists/partial "$place"/apt/cache/archives/partial "$place"/root
options=(-qq -o "Dir::State=$place/apt" -o "Dir::State::Lists=$place/apt/lists" -o "Dir::Cache=$place/apt/cache"
  -o Dir::State::status=/var/lib/dpkg/status -o Debug::NoLocking=1 -o APT::Sandbox::User="" -o Dpkg::Use-Pty=0)
apt-get "${options[@]}" update >&2
packages=()
for names in "$@"; do
  for name in ${names//|/ }; do
    if apt-cache "${options[@]}" show "$name" >/dev/null 2>&1; then break; fi
  done
  packages+=("$name") # or the last: apt-get says that it is not there
done
apt-get "${options[@]}" install --yes --no-install-recommends --download-only "${packages[@]}" >&2
for package in "$place"/apt/cache/archives/*.deb; do dpkg-deb -x "$package" "$place/root"; done
rm -rf "$place/apt"
touch "$place/.unpacked"
