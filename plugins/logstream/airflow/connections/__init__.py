"""Airflow connections as credentials. Roles, profiles, managed identities and the like are the providers' hooks' work.

One file for each type of connection; `tables.py` says what becomes of each field.
"""

from __future__ import annotations

from collections.abc import Callable

from logstream.airflow.connections.aws import aws_credentials
from logstream.airflow.connections.azure import azure_blob_credentials, azure_token
from logstream.airflow.connections.google import gcs_credentials
from logstream.airflow.connections.http import http_credentials
from logstream.airflow.connections.lookup import NoSuchConnection, find, use_metadata_database
from logstream.airflow.connections.postgres import dsn_from, dsn_of
from logstream.destinations.credentials import AwsCredentials, AzureBlobCredentials, GcsCredentials, HttpCredentials
from logstream.proof.signing import Signer

__all__ = ["SIGNING_CONNECTION", "AirflowConnections", "dsn_from", "dsn_of", "use_metadata_database"]

SIGNING_CONNECTION = "logstream_signing"


class AirflowConnections:
    """Gives credentials by connection id, through Airflow's secrets backends (`AIRFLOW_CONN_<ID>` among them)."""

    def aws(self, connection: str) -> AwsCredentials:
        """From a connection of type `aws`: keys, role to assume, profile, web identity, whatever its hook knows."""
        return aws_credentials(connection)

    def azure_blob(self, connection: str) -> AzureBlobCredentials:
        """From a connection of type `wasb`: connection string, key, SAS, service principal or managed identity."""
        return azure_blob_credentials(connection)

    def gcs(self, connection: str) -> GcsCredentials:
        """From a connection of type `google_cloud_platform`."""
        return gcs_credentials(connection)

    def azure_token(self, connection: str) -> Callable[[str], str]:
        """From a connection of type `azure`: login and password are client id and secret, `tenantId` in extra."""
        return azure_token(connection)

    def http(self, connection: str, default_url: str | None = None) -> HttpCredentials:
        """From a connection of type `http`: base URL, login and password, headers (`headers` in extra)."""
        return http_credentials(connection, default_url)

    def signer(self) -> Signer | None:
        """The key that signs manifests: the password of connection `logstream_signing`, if there is one.

        Raises `InputError` if it is no Ed25519 private key, `AirflowAway` if Airflow cannot say whether there is one: manifests
        that are not signed then would stay so.
        """
        try:
            found = find(SIGNING_CONNECTION)
        except NoSuchConnection:
            return None
        return Signer.of(found.password or "")
