"""Access to Google Cloud Storage."""

from __future__ import annotations

from logstream.destinations.access.base import (
    Access,
    Authentication,
    CredentialField,
    OptionValues,
    Rights,
    Shape,
    given,
)

_KEY = CredentialField(
    "key", "Key of the service account", "extra.keyfile_dict", secret=True, required=True, shape=Shape.JSON,
    help="The whole JSON file that Google gave.", aliases=("extra.extra__google_cloud_platform__keyfile_dict",),
)  # fmt: skip
_FILE = CredentialField(
    "key_path", "File with the key", "extra.key_path", required=True, example="/secrets/logstream.json",
    help="On every worker, and where the api-server runs.", aliases=("extra.extra__google_cloud_platform__key_path",),
)  # fmt: skip
_ENDPOINT = CredentialField(
    "endpoint", "Endpoint", "extra.endpoint_url", shape=Shape.ADDRESS, example="http://localhost:9023",
    help="Only for another server than Google's.",
)  # fmt: skip


def _role(options: OptionValues) -> Rights:
    bucket, prefix = given(options, "bucket", "BUCKET"), given(options, "prefix", "")
    grant = (
        f"gcloud storage buckets add-iam-policy-binding gs://{bucket} \\\n"
        "  --member=serviceAccount:NAME@PROJECT.iam.gserviceaccount.com --role=projects/PROJECT/roles/logstream"
    )
    if prefix:
        resource = f"projects/_/buckets/{bucket}/objects/{prefix}"
        grant += (
            " \\\n  --condition='title=prefix,expression="
            f'resource.name == "projects/_/buckets/{bucket}" || resource.name.startsWith("{resource}")\''
        )
    permissions = ",".join(f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list"))
    return Rights(
        "Role of the service account",
        f"gcloud iam roles create logstream --project=PROJECT \\\n  --permissions={permissions}\n{grant}",
        "To replace an object is to delete it, at Google: a window that is exported again needs that. The predefined role "
        "Storage Object User has the same and more.",
    )


GCS = Access(
    "google_cloud_platform",
    (
        Authentication("key", "Key of a service account", (_KEY, _ENDPOINT)),
        Authentication("file", "File with a key", (_FILE, _ENDPOINT)),
        Authentication("machine", "What the machine has (workload identity, environment)", (_ENDPOINT,)),
    ),
    documentation="https://cloud.google.com/iam/docs/keys-create-delete",
    rights=_role,
)
