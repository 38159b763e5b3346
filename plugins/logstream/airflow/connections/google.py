"""Connections of type `google_cloud_platform`. The Google provider need not be installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

from logstream.airflow.connections.lookup import find, flag
from logstream.airflow.connections.tables import GOOGLE
from logstream.destinations.credentials import GcsCredentials
from logstream.errors import ConnectionNotFound


def gcs_credentials(connection: str) -> GcsCredentials:
    """What the connection gives: `keyfile_dict`, `key_path`, else the environment's own credentials.

    `endpoint_url` in its extra, or `STORAGE_EMULATOR_HOST`, is where another server than Google's is.
    """
    fields = GOOGLE.check(find(connection, "google_cloud_platform"))
    endpoint = fields.get("endpoint_url") or os.environ.get("STORAGE_EMULATOR_HOST") or None
    if endpoint and "://" not in endpoint:
        endpoint = f"http://{endpoint}"
    anonymous = flag(connection, "is_anonymous", fields.get("is_anonymous"))
    key = fields.get("keyfile_dict") or None
    if isinstance(key, dict):
        key = json.dumps(key)
    if key is None and fields.get("key_path"):
        try:
            key = Path(fields["key_path"]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConnectionNotFound(f"connection `{connection}`: key_path: {type(error).__name__}") from None
    if key is not None:
        try:
            json.loads(key)
        except ValueError:
            raise ConnectionNotFound(f"connection `{connection}`: its key is not JSON") from None
    return GcsCredentials(key, endpoint, anonymous=anonymous or bool(endpoint and not key))
