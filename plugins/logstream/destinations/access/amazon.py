"""Access to Amazon S3, and to servers that speak its protocol."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from logstream.destinations.access.base import (
    Access,
    Authentication,
    CredentialField,
    OptionValues,
    Rights,
    Shape,
    given,
)

_KEY_ID = CredentialField(
    "access_key_id", "Access key ID", "login", example="AKIAIOSFODNN7EXAMPLE", required=True,
    aliases=("extra.aws_access_key_id", "extra.session_kwargs.aws_access_key_id"),
)  # fmt: skip
_SECRET_KEY = CredentialField(
    "secret_access_key", "Secret access key", "password", secret=True, required=True,
    aliases=("extra.aws_secret_access_key", "extra.session_kwargs.aws_secret_access_key"),
)  # fmt: skip
_TOKEN = CredentialField(
    "session_token", "Session token", "extra.aws_session_token", secret=True, required=True,
    help="Of temporary keys. Nothing renews it: better assume a role.", aliases=("extra.session_kwargs.aws_session_token",),
)  # fmt: skip
_ROLE = CredentialField(
    "role_arn", "Role", "extra.role_arn", example="arn:aws:iam::123456789012:role/logs", required=True,
    help="The role to assume; its keys are renewed by themselves.",
)  # fmt: skip
_EXTERNAL_ID = CredentialField(
    "external_id", "External ID", "extra.assume_role_kwargs.ExternalId", example="acme",
    help="Where the role of another account demands one.",
)  # fmt: skip
_REGION = CredentialField(
    "region", "Region", "extra.region_name", example="eu-central-1", help="Of the bucket. us-east-1 if left empty.",
    aliases=("extra.config_kwargs.region_name",),
)  # fmt: skip
_ENDPOINT = CredentialField(
    "endpoint", "Endpoint", "extra.endpoint_url", shape=Shape.ADDRESS, example="https://minio.example.com:9000",
    help="Only for another server than Amazon's.", aliases=("extra.service_config.s3.endpoint_url",),
)  # fmt: skip


def _policy(options: OptionValues) -> Rights:
    bucket, prefix = given(options, "bucket", "BUCKET"), given(options, "prefix", "")
    bucket_arn = f"arn:aws:s3:::{bucket}"
    objects = f"{bucket_arn}/{prefix}*"
    put = ["s3:PutObject", "s3:AbortMultipartUpload", *(["s3:PutObjectTagging"] if options.get("tags") else [])]
    listing: dict[str, Any] = {
        "Sid": "Verify", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": bucket_arn,
        **({"Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}}} if prefix else {}),
    }  # fmt: skip
    statements: list[dict[str, Any]] = [
        {"Sid": "Deliver", "Effect": "Allow", "Action": put, "Resource": objects},
        {"Sid": "ReadBackAndRemoveTests", "Effect": "Allow", "Action": ["s3:GetObject", "s3:DeleteObject"], "Resource": objects},
        listing,
    ]  # fmt: skip
    if options.get("encryption") == "aws:kms":
        key = given(options, "kms_key_id", "KEY-ARN")
        statements.append(
            {"Sid": "Encrypt", "Effect": "Allow", "Action": ["kms:GenerateDataKey", "kms:Decrypt"], "Resource": key}
        )
    return Rights(
        "IAM policy",
        json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2),
        "Attach it to the user or the role in IAM. The first statement delivers; the others are for the daily check and for "
        "logstream verify.",
    )


S3 = Access(
    "aws",
    (
        Authentication("keys", "Access key", (_KEY_ID, _SECRET_KEY, _REGION, _ENDPOINT)),
        Authentication(
            "role",
            "Assume a role",
            (_ROLE, _EXTERNAL_ID, _REGION, replace(_KEY_ID, required=False,
             help="The keys with which the role is assumed; left empty, what the machine has."),
             replace(_SECRET_KEY, required=False)),
        ),
        Authentication("temporary", "Temporary keys", (_KEY_ID, _SECRET_KEY, _TOKEN, _REGION, _ENDPOINT)),
        Authentication("machine", "What the machine has (instance role, environment)", (_REGION, _ENDPOINT)),
    ),
    documentation="https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_create-console.html",
    rights=_policy,
)  # fmt: skip
