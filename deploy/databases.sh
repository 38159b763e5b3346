#!/usr/bin/env bash
# Prints where the tests find an older PostgreSQL than the wheel's (a folder of programs; 15 where there is a choice), PgBouncer and Redis
# (programs), a line each: the machine's own, else Debian's packages unpacked below .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
exec 9>"$PWD/.venv/.databases.lock"
flock 9 # tests on several workers ask at once
find_or_unpack() { # NAME PACKAGE PROGRAM: prints the program; of several the first by name
  local found
  for found in $3; do
    if [ -x "$found" ]; then echo "$found"; return; fi
  done
  bash deploy/debian.sh "$PWD/.venv/$1" "$2"
  for found in "$PWD/.venv/$1/root"$3; do echo "$found"; return; done
}
dirname "$(find_or_unpack postgresql-15 'postgresql-15|postgresql-16|postgresql-17' '/usr/lib/postgresql/1[5-7]/bin/postgres')"
find_or_unpack pgbouncer pgbouncer /usr/sbin/pgbouncer
find_or_unpack redis redis-server /usr/bin/redis-server
