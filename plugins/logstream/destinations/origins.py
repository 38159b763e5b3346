"""Whose bucket or container it is: the addresses of one server in one form, however they are written.

It is for finding destinations that write the same objects, so it errs on one side: it may take two servers for one, but not
one, of those that it knows, for two.
"""

from __future__ import annotations

import ipaddress
import re

from yarl import URL

GOOGLE = "google"
AWS = "aws"
PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-isoe-", "eusc-")
"""How the regions of AWS begin that are apart from all others.

https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
"""

_AWS_HOST = re.compile(r"(^|\.)(amazonaws\.(com|com\.cn|eu)|api\.aws|api\.amazonwebservices\.com\.cn)$")
_GOOGLE_HOST = re.compile(r"(^|\.)(googleapis\.com|storage\.cloud\.google\.com)$")
_AZURE_HOST = re.compile(r"\.(core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)|storage\.azure\.net)$")
_SERVICES = re.compile(r"\.privatelink(?=\.)|\.(blob|dfs|web)(?=\.)")


def s3_server(endpoint: str | None, region: str, bucket: str) -> str:
    """The server of an S3 bucket: within a partition of AWS a name means one bucket, by whatever endpoint."""
    if not endpoint:
        return partition(region)
    host = _host(endpoint)
    if _AWS_HOST.search(host):
        named = next((part for part in re.split(r"[.-](?=cn-|us-|eu)|\.", host) if part.startswith(PARTITIONS)), region)
        return partition("cn-" if host.endswith(".cn") else named)
    if _GOOGLE_HOST.search(host):
        return GOOGLE
    # with the bucket in the host's name, or without it
    return origin(endpoint).removeprefix(f"{bucket.lower()}.")


def gcs_server(endpoint: str | None) -> str:
    """The server of a bucket of Google Cloud Storage, where a name means one bucket for all."""
    return GOOGLE if not endpoint or _GOOGLE_HOST.search(_host(endpoint)) else origin(endpoint)


def azure_server(account_url: str) -> str:
    """The account, whose name is one in its cloud: by its blob, Data Lake, web, private or secondary address."""
    host = _host(account_url)
    if not _AZURE_HOST.search(host):
        return origin(account_url)
    account, _, domain = host.partition(".")
    return f"{account.removesuffix('-secondary')}.{_SERVICES.sub('', f'.{domain}').lstrip('.')}"


def partition(region: str) -> str:
    """The partition of AWS that a region is in."""
    return next((name for name in PARTITIONS if region.startswith(name)), AWS)


def origin(url: str) -> str:
    """A server's address in one form: equal for URLs that name the same one, by http or https."""
    parts = URL(url)
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    return f"{_host(url)}{port}{parts.raw_path.rstrip('/')}"


def _host(url: str) -> str:
    host = (URL(url).raw_host or "").lower().rstrip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
