"""Access to Azure Blob Storage and to Azure Monitor."""

from __future__ import annotations

import json
from dataclasses import replace

from logstream.destinations.access.base import Access, Authentication, CredentialField, OptionValues, Rights, given

_ACCOUNT = CredentialField("account", "Storage account", "login", example="acmelogs", required=True)
_ADDRESS = CredentialField(
    "address", "Address of the account", "host", example="https://acmelogs.blob.core.windows.net",
    help="Only where it is not that of the account at Azure's public cloud.",
)  # fmt: skip
_KEY = CredentialField(
    "account_key", "Account key", "password", secret=True, required=True,
    aliases=("extra.shared_access_key", "extra.account_key", "extra.extra__wasb__shared_access_key"),
)  # fmt: skip
_SAS = CredentialField(
    "sas", "SAS token", "extra.sas_token", secret=True, required=True, example="sv=2024-11-04&sr=c&sp=rcwl&...",
    help="Of the container, with create and write; list, read and delete for the daily check and for logstream verify.",
    aliases=("extra.extra__wasb__sas_token",),
)  # fmt: skip
_CONNECTION_STRING = CredentialField(
    "connection_string", "Connection string", "extra.connection_string", secret=True, required=True,
    aliases=("extra.extra__wasb__connection_string",),
)  # fmt: skip
_UUID = "00000000-0000-0000-0000-000000000000"
_TENANT = CredentialField(
    "tenant_id", "Tenant ID", "extra.tenant_id", example=_UUID, required=True, aliases=("extra.extra__wasb__tenant_id",)
)
_CLIENT = CredentialField("client_id", "Client ID", "login", example=_UUID, required=True)
_CLIENT_SECRET = CredentialField("client_secret", "Client secret", "password", secret=True, required=True)
_IDENTITY = CredentialField(
    "managed_identity", "Client ID of the managed identity", "extra.managed_identity_client_id", example=_UUID,
    help="Only where the machine has several.",
)  # fmt: skip


def _blob_role(options: OptionValues) -> Rights:
    container = given(options, "container", "CONTAINER")
    blobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
    tags = [f"{blobs}/tags/write"] if options.get("tags") else []
    role = {
        "Name": f"Logstream delivers to {container}",
        "IsCustom": True,
        "Description": "Puts audit logs, reads them back to verify, removes its test blobs.",
        "Actions": [],
        "DataActions": [f"{blobs}/{verb}" for verb in ("write", "add/action", "read", "delete")] + tags,
        "AssignableScopes": ["/subscriptions/SUBSCRIPTION/resourceGroups/GROUP"],
    }
    return Rights(
        "Azure role",
        json.dumps(role, indent=2),
        f"az role definition create --role-definition @role.json, then assign it on the container {container}. The built-in role "
        "Storage Blob Data Contributor has the same and more. An account key needs no role.",
    )


AZURE_BLOB = Access(
    "wasb",
    (
        Authentication("key", "Account key", (_ACCOUNT, _KEY, _ADDRESS)),
        Authentication("sas", "SAS token", (_ACCOUNT, _SAS, _ADDRESS)),
        Authentication(
            "principal", "Service principal (Entra ID)",
            (replace(_ADDRESS, required=True, help=""), _TENANT, _CLIENT, _CLIENT_SECRET),
        ),
        Authentication("identity", "Managed identity of the machine", (_ACCOUNT, _IDENTITY, _ADDRESS)),
        Authentication("connection_string", "Connection string", (_CONNECTION_STRING,)),
    ),
    documentation="https://learn.microsoft.com/en-us/azure/storage/blobs/assign-azure-role-data-access",
    rights=_blob_role,
)  # fmt: skip


def _monitor_role(options: OptionValues) -> Rights:
    rule = given(options, "rule_id", "dcr-...")
    text = (
        'az role assignment create --role "Monitoring Metrics Publisher" --assignee CLIENT-ID \\\n'
        "  --scope /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/Microsoft.Insights/dataCollectionRules/RULE"
    )
    return Rights(
        "Role on the data collection rule",
        text,
        f"RULE is the name of the rule whose immutable id is {rule}. A new grant takes up to 30 minutes.",
    )


_AZURE_TENANT = replace(_TENANT, place="extra.tenantId", aliases=("extra.tenant_id", "extra.extra__azure__tenantId"))

AZURE_MONITOR = Access(
    "azure",
    (
        Authentication("principal", "Service principal (Entra ID)", (_AZURE_TENANT, _CLIENT, _CLIENT_SECRET)),
        Authentication("identity", "Managed identity of the machine", (_IDENTITY,)),
    ),
    documentation="https://learn.microsoft.com/en-us/azure/azure-monitor/logs/logs-ingestion-api-overview",
    rights=_monitor_role,
)
