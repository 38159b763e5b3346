"""Refusals of object stores, as the vendors send them, through the real client: each cause with its own remedy, told at once.

The bodies are those of the vendors' documentation and of servers: S3's ErrorResponses, Azure's "Common REST API error codes" and
"Blob service error codes", Google's "HTTP status and error codes for XML".
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from logstream.destinations.credentials import AwsCredentials, AzureBlobCredentials, GcsCredentials
from logstream.destinations.outcome import GiveUp, Outcome, Retry
from logstream.destinations.registry import make_destination
from logstream.destinations.transport.addresses import VARIABLE
from logstream.settings.models import DestinationSettings

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Refusing:
    """A server that answers every put with one status and body."""

    def __init__(self) -> None:
        self.status, self.body, self.requests = 200, b"", 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.requests += 1
                self.send_response(outer.status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Refusing:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def aws(self, _: str) -> AwsCredentials:
        keys = {"access_key_id": "AKIAEXAMPLE", "secret_access_key": "s3cr3t-of-aws", "token": None, "expires_at": None}
        return AwsCredentials(lambda: keys, region="us-east-1", endpoint=self.url)

    def azure_blob(self, _: str) -> AzureBlobCredentials:
        return AzureBlobCredentials(f"{self.url}/acc", "acc", account_key=KEY)

    def gcs(self, _: str) -> GcsCredentials:
        return GcsCredentials(endpoint=self.url, anonymous=True)


@pytest.fixture(scope="module")
def server() -> Iterator[Refusing]:
    with Refusing() as server:
        yield server


def put(server: Refusing, kind: str, status: int, body: str, *, new: bool = False) -> Outcome:
    """The outcome of one put that is so answered."""
    server.status, server.body = status, body.encode()
    place = {"container": "audit"} if kind == "azure_blob" else {"bucket": "audit"}
    settings = DestinationSettings.model_validate({"type": kind, "connection": "c", **place})
    destination: Any = make_destination("lake", settings, server)  # type: ignore[arg-type]

    async def once() -> Outcome:
        await destination.start()
        try:
            outcome: Outcome = await destination.put("1/a.json", b"{}", new=new)
        finally:
            await destination.close()
        return outcome

    return asyncio.run(once())


def s3(code: str, message: str, more: str = "") -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>{more}'
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>vHDq/x0=</HostId></Error>"
    )


def azure(code: str, message: str, more: str = "") -> str:
    return (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}\n'
        f"RequestId:cdc41514-f01e-0044-5a5b-8a5b3c000000\nTime:2026-11-25T10:00:00.0000000Z</Message>{more}</Error>"
    )


def gcs(code: str, message: str, details: str = "") -> str:
    more = f"<Details>{details}</Details>" if details else ""
    return f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"


AUTHENTICATION = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the "
    "signature."
)

PERMANENT: list[tuple[str, int, str, str]] = [
    ("s3", 403, s3("RequestTimeTooSkewed", "The difference between the request time and the current time is too large.",
                   "<RequestTime>20261125T100000Z</RequestTime><ServerTime>2026-11-25T11:00:00Z</ServerTime>"), "set it by NTP"),
    ("s3", 400, s3("ExpiredToken", "The provided token has expired.", "<Token-0>IQoJb3JpZ2lu</Token-0>"), "has expired; renew it in Airflow"),
    ("s3", 400, s3("InvalidToken", "The provided token is malformed or otherwise invalid."), "session token is not valid"),
    ("s3", 403, s3("InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."), "correct its login"),
    ("s3", 403, s3("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
                   "<StringToSign>AWS4-HMAC-SHA256</StringToSign>"), "correct its password"),
    ("s3", 403, s3("AccessDenied", "Access Denied"), "grant s3:PutObject on arn:aws:s3:::audit/* to connection `c`"),
    ("s3", 403, s3("AccessDenied", "User: arn:aws:iam::111122223333:user/logs is not authorized to perform: s3:PutObjectTagging on resource"), "grant s3:PutObjectTagging"),
    ("s3", 403, s3("AccessDenied", "User: arn:aws:iam::111122223333:user/logs is not authorized to perform: kms:GenerateDataKey on the resource"), "grant kms:GenerateDataKey and kms:Decrypt"),
    ("s3", 403, s3("AccessDenied", "User: x is not authorized to perform: s3:PutObject on resource: y with an explicit deny in a resource-based policy"), "a policy denies"),
    ("s3", 301, s3("PermanentRedirect", "The bucket you are attempting to access must be addressed using the specified endpoint."), "in another region; set region_name"),
    ("s3", 400, s3("AuthorizationHeaderMalformed", "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-west-1'",
                   "<Region>eu-west-1</Region>"), "in another region, eu-west-1; set region_name"),
    ("s3", 404, s3("NoSuchBucket", "The specified bucket does not exist", "<BucketName>audit</BucketName>"), "does not exist; create it"),
    ("s3", 404, s3("NoSuchBucket", "The specified bucket does not exist", "<BucketName>1</BucketName>"), "wants the bucket in the path"),
    ("s3", 403, s3("SecondLevelDomainForbidden", "Please use virtual hosted style to access."), '{"s3": {"addressing_style": "virtual"}}'),
    ("s3", 403, s3("QuotaExceeded", ""), "reached its quota; raise it"),
    ("s3", 400, s3("KMS.DisabledException", "arn:aws:kms:... is disabled."), "KMS key of bucket `audit` cannot be used"),
    ("s3", 400, s3("InvalidStorageClass", "The storage class you specified is not valid"), "`storage_class`; correct it in destination lake"),
    ("s3", 400, s3("InvalidRequest", "Missing required header for this request: x-amz-content-sha256"), "refuses the request, and would again"),
    ("s3", 405, s3("MethodNotAllowed", "The specified method is not allowed against this resource."), "correct `endpoint_url`"),
    ("azure_blob", 403, azure("AuthenticationFailed", AUTHENTICATION, "<AuthenticationErrorDetail>Request date header too old: 'Wed, 25 Nov 2026 09:00:00 GMT'</AuthenticationErrorDetail>"), "set it by NTP"),
    ("azure_blob", 403, azure("AuthenticationFailed", AUTHENTICATION, "<AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [Mon, 01 Jun 2026] - Expiry [Tue, 02 Jun 2026] - Current [Wed, 25 Nov 2026]</AuthenticationErrorDetail>"), "has expired, or is not valid yet"),
    ("azure_blob", 403, azure("AuthenticationFailed", AUTHENTICATION, f"<AuthenticationErrorDetail>The MAC signature found in the HTTP request '{KEY}' is not the same as any computed signature. Server used following string to sign: 'PUT'.</AuthenticationErrorDetail>"), "is not the account's, or no more; correct its password"),
    ("azure_blob", 403, azure("AuthenticationFailed", AUTHENTICATION, "<AuthenticationErrorDetail>Signature fields not well formed.</AuthenticationErrorDetail>"), "SAS of connection `c` is not valid"),
    ("azure_blob", 401, azure("InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.", "<AuthenticationErrorDetail>Lifetime validation failed. The token is expired.</AuthenticationErrorDetail>"), "token of connection `c` has expired"),
    ("azure_blob", 401, azure("InvalidAuthenticationInfo", "Server failed to authenticate the request.", "<AuthenticationErrorDetail>Issuer validation failed. Issuer did not match.</AuthenticationErrorDetail>"), "another tenant"),
    ("azure_blob", 403, azure("AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission."), "grant it Storage Blob Data Contributor"),
    ("azure_blob", 403, azure("AuthorizationFailure", "This request is not authorized to perform this operation."), "allow its network under Networking"),
    ("azure_blob", 403, azure("KeyBasedAuthenticationNotPermitted", "Key based authentication is not permitted on this storage account."), "service principal or a managed identity"),
    ("azure_blob", 403, azure("AuthorizationSourceIPMismatch", "This request is not authorized to perform this operation using this source IP."), "(sip)"),
    ("azure_blob", 403, azure("UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites."), "needs write, too"),
    ("azure_blob", 403, azure("AccountIsDisabled", "The specified account is disabled."), "subscription's billing"),
    ("azure_blob", 404, azure("ContainerNotFound", "The specified container does not exist."), "container `audit` does not exist"),
    ("azure_blob", 409, azure("BlobImmutableDueToPolicy", "This operation is not permitted as the blob is immutable due to a policy."), "is immutable"),
    ("azure_blob", 400, azure("InvalidBlobTier", "The specified blob tier is invalid."), "`storage_class`"),
    ("azure_blob", 400, azure("InvalidHeaderValue", "The value for one of the HTTP headers is not in the correct format."), "refuses the request, and would again"),
    ("gcs", 403, gcs("AccessDenied", "Access denied.", "logs@p.iam.gserviceaccount.com does not have storage.objects.create access to the Google Cloud Storage object."), "grant it Storage Object User"),
    ("gcs", 403, gcs("AccessDenied", "Access denied.", "logs@p.iam.gserviceaccount.com does not have storage.objects.delete access to the Google Cloud Storage object."), "may not replace objects"),
    ("gcs", 403, gcs("RequestTimeTooSkewed", "The difference between the request time and the server's time is too large."), "set it by NTP"),
    ("gcs", 401, gcs("AuthenticationRequired", "Authentication required."), "gives no credentials"),
    ("gcs", 403, gcs("AccessDenied", "Access denied.", "The billing account for the owning project is disabled in state absent"), "billing account"),
    ("gcs", 403, gcs("UserProjectAccountProblem", "There is a problem with the project used in the request that prevents the operation from completing successfully."), "billing account"),
    ("gcs", 400, gcs("UserProjectMissing", "Bucket is a requester pays bucket but no user project provided."), "requester pays"),
    ("gcs", 404, gcs("NoSuchBucket", "The specified bucket does not exist."), "bucket `audit` does not exist"),
    ("gcs", 403, gcs("RetentionPolicyNotMet", "Object is subject to the bucket's retention policy."), "retention policy or a hold"),
    ("gcs", 403, gcs("CloudKmsDisabledKey", "Cloud KMS key is disabled, destroyed, or scheduled to be destroyed."), "Cloud KMS key"),
    ("gcs", 403, json.dumps({"error": {"errors": [{"domain": "usageLimits", "reason": "quotaExceeded", "message": "The user has exceeded their project quota."}], "code": 403}}), "quota of the project"),
    ("gcs", 403, gcs("SecurityPolicyViolated", "Request violates VPC Service Controls."), "perimeter"),
    ("gcs", 400, gcs("InvalidArgument", "Invalid argument."), "refuses the request, and would again"),
    ("gcs", 412, gcs("OrgPolicyConstraintFailed", "Policy constraint violated."), "policy of the organisation"),
]  # fmt: skip

PASSING: list[tuple[str, int, str, str]] = [
    ("s3", 400, s3("RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period."), "too slowly"),
    ("s3", 409, s3("OperationAborted", "A conflicting conditional operation is currently in progress against this resource."), "changing the same thing"),
    ("s3", 503, s3("SlowDown", "Please reduce your request rate."), "asks to slow down"),
    ("azure_blob", 503, azure("ServerBusy", "Operations per second is over the account limit."), "no more requests of this account"),
    ("azure_blob", 409, azure("ContainerBeingDeleted", "The specified container is being deleted. Try operation later."), "being deleted"),
    ("gcs", 429, gcs("SlowDown", "The object audit/1/a.json exceeded the rate limit for object mutation operations (create, update, and delete)."), "asks to slow down"),
    ("gcs", 403, json.dumps({"error": {"errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded", "message": "Rate limit exceeded"}], "code": 403}}), "asks to slow down"),
    ("s3", 502, "<html><body>Bad gateway</body></html>", "502"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _allow_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")


def ids(cases: list[tuple[str, int, str, str]]) -> list[str]:
    return [f"{kind}-{status}-{remedy}" for kind, status, _, remedy in cases]


@pytest.mark.parametrize(("kind", "status", "body", "remedy"), PERMANENT, ids=ids(PERMANENT))
def test_what_does_not_pass_is_told_at_once_with_its_remedy(
    server: Refusing, kind: str, status: int, body: str, remedy: str
) -> None:
    server.requests = 0
    outcome = put(server, kind, status, body)
    assert isinstance(outcome, GiveUp) and remedy in outcome.reason, outcome
    assert server.requests == 1
    assert "{" not in outcome.reason.replace('{"s3": {"addressing_style": "virtual"}}', "")
    assert KEY not in outcome.reason


@pytest.mark.parametrize(("kind", "status", "body", "cause"), PASSING, ids=ids(PASSING))
def test_what_passes_is_tried_again_and_says_why(
    server: Refusing, kind: str, status: int, body: str, cause: str
) -> None:
    outcome = put(server, kind, status, body)
    assert isinstance(outcome, Retry) and cause in outcome.reason, outcome


@pytest.mark.parametrize(
    ("kind", "status", "body", "taken"),
    [
        ("s3", 412, s3("PreconditionFailed", "At least one of the preconditions you specified did not hold."), True),
        ("s3", 409, s3("OperationAborted", "A conflicting conditional operation is currently in progress."), False),
        ("azure_blob", 409, azure("BlobAlreadyExists", "The specified blob already exists."), True),
        ("azure_blob", 409, azure("ContainerBeingDeleted", "The specified container is being deleted."), False),
        ("gcs", 412, gcs("PreconditionFailed", "At least one of the pre-conditions you specified did not hold."), True),
    ],
)  # fmt: skip
def test_a_conflict_is_an_object_that_is_there_only_where_the_vendor_says_so(
    server: Refusing, kind: str, status: int, body: str, taken: bool
) -> None:
    outcome = put(server, kind, status, body, new=True)
    assert (isinstance(outcome, GiveUp) and "there is an object" in outcome.reason) == taken, outcome
