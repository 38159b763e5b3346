#!/usr/bin/env bash
# Prints where the tests find Debian's PostgreSQL 15 (a folder of programs) and PgBouncer (a program), a line each: the machine's
# own, else Debian's packages unpacked below .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9>"$PWD/.venv/.databases.lock"
flock 9 # tests on several workers ask at once
find_or_unpack() { # PACKAGE PROGRAM: prints the program
  if [ -x "$2" ]; then
    echo "$2"
  else
    bash deploy/debian.sh "$PWD/.venv/$1" "$1"
    echo "$PWD/.venv/$1/root$2"
  fi
}
dirname "$(find_or_unpack postgresql-15 /usr/lib/postgresql/15/bin/postgres)"
find_or_unpack pgbouncer /usr/sbin/pgbouncer
