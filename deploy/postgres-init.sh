#!/usr/bin/env bash
# Run once by the postgres image on an empty volume: a database for the log store, settings and ledger.
set -euo pipefail
createdb --username "$POSTGRES_USER" logstream
