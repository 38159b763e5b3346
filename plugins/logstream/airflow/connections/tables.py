"""The fields of each type of connection, and what becomes of them (`fields.py` says how this is read)."""

from __future__ import annotations

from psycopg.pq import Conninfo

from logstream.airflow.connections.fields import ConnectionFields, no_effect, refused, used

_ENDPOINT = "put the server's whole address into `endpoint_url` in the extra"
_TUNING = "it tunes boto3, which sends no objects here"
_ROLE = "used by Airflow's hook to assume a role"

AWS = ConnectionFields(
    kind="aws",
    title="Amazon Web Services",
    standard={
        "host": refused(_ENDPOINT),
        "port": refused(_ENDPOINT),
        "login": used("the access key id"),
        "password": used("the secret access key"),
    },
    extras={
        "aws_access_key_id": used("the access key id, where there is no login"),
        "aws_secret_access_key": used("the secret access key, where there is no password"),
        "aws_session_token": used("the session token of temporary keys; nothing renews it"),
        "region_name": used("the region: letters, digits and hyphens"),
        "endpoint_url": used(
            "the address of another server than Amazon's, with http:// or https://; else `AWS_ENDPOINT_URL_S3`, "
            "`AWS_ENDPOINT_URL` or that of the profile"
        ),
        "profile_name": used("a profile of the AWS configuration files"),
        "role_arn": used("the role to assume"),
        "assume_role_method": used(_ROLE),
        "assume_role_kwargs": used(f"{_ROLE}; `ExternalId` is here"),
        "assume_role_with_saml": refused(
            "assertions are not fetched here; use a role with keys or with a web identity"
        ),
        "assume_role_with_web_identity_federation": used(_ROLE),
        "assume_role_with_web_identity_federation_audience": used(_ROLE),
        "assume_role_with_web_identity_token_file": used(_ROLE),
        "session_kwargs.aws_access_key_id": used("the access key id, where there is no other"),
        "session_kwargs.aws_secret_access_key": used("the secret access key, where there is no other"),
        "session_kwargs.aws_session_token": used("the session token, where there is no other"),
        "session_kwargs.profile_name": refused("Airflow's hook ignores it; use `profile_name`"),
        "session_kwargs.region_name": refused("Airflow's hook ignores it; use `region_name`"),
        "service_config.s3.endpoint_url": used("the address of the S3 server, before `endpoint_url`"),
        "service_config.s3.bucket_name": refused("the bucket is an option of the destination"),
        "service_config.sts.endpoint_url": used("the address of another server than Amazon's where roles are assumed"),
        "verify": used(
            "false: certificates are not verified. A path: the certificates in this file (PEM) are trusted beside the "
            "machine's. Left out, `AWS_CA_BUNDLE` or a profile's `ca_bundle`"
        ),
        "config_kwargs.region_name": used("the region, before `region_name`"),
        "config_kwargs.proxies": used("proxies for `http` and `https`, before those of the environment"),
        "config_kwargs.s3.addressing_style": used("`path` (here also what `auto` means) or `virtual`"),
        "config_kwargs.connect_timeout": used("seconds"),
        "config_kwargs.read_timeout": used("seconds a request may take"),
        "config_kwargs.retries.max_attempts": used(
            "repetitions of one request at once; the engine's own, which are slower, come on top"
        ),
        "config_kwargs.retries.total_max_attempts": used("the same, the first attempt counted"),
        "config_kwargs.retries.mode": no_effect("delays grow as in `standard`"),
        "config_kwargs.signature_version": refused(
            "`unsigned` is, and version 4, which is the usual", "s3v4", "v4", "unsigned"
        ),
        "config_kwargs.max_pool_connections": no_effect("there are as many connections as requests under way"),
        "config_kwargs.user_agent": no_effect(_TUNING),
        "config_kwargs.user_agent_extra": no_effect(_TUNING),
        "config_kwargs.user_agent_appid": no_effect(_TUNING),
        "config_kwargs.parameter_validation": no_effect(_TUNING),
        "config_kwargs.tcp_keepalive": no_effect(_TUNING),
        "config_kwargs.inject_host_prefix": no_effect(_TUNING),
        "config_kwargs.endpoint_discovery_enabled": no_effect(_TUNING),
        "config_kwargs.defaults_mode": no_effect(_TUNING),
        "config_kwargs.proxies_config": refused("the certificates of a proxy go into `verify`, as a path"),
        "config_kwargs.client_cert": refused("client certificates are not supported for S3"),
        "config_kwargs.use_dualstack_endpoint": refused("name the address in `endpoint_url`", False),
        "config_kwargs.use_fips_endpoint": refused("name the address in `endpoint_url`", False),
        "config_kwargs.s3.use_accelerate_endpoint": refused("name the address in `endpoint_url`", False),
        "config_kwargs.s3.payload_signing_enabled": no_effect("payloads are signed where Amazon wants it"),
        "config_kwargs.s3.us_east_1_regional_endpoint": no_effect("the regional address is used"),
        "config_kwargs.s3.use_arn_region": refused("`bucket` is a name", False),
        "config_kwargs.s3_disable_express_session_auth": refused("directory buckets are not supported", False),
        "config_kwargs.ignore_configured_endpoint_urls": refused("name the address in `endpoint_url`", False),
        "config_kwargs.request_min_compression_size_bytes": no_effect(_TUNING),
        "config_kwargs.disable_request_compression": no_effect(_TUNING),
        "config_kwargs.client_context_params": refused("it is not supported"),
        "config_kwargs.sigv4a_signing_region_set": refused("multi-region access points are not supported"),
        "config_kwargs.request_checksum_calculation": no_effect("the SHA-256 of every payload is in its signature"),
        "config_kwargs.response_checksum_validation": no_effect("`logstream verify` compares digests itself"),
        "config_kwargs.account_id_endpoint_mode": no_effect(_TUNING),
        "config_kwargs.auth_scheme_preference": refused("version 4 of the signature is used"),
        "test_endpoint_url": no_effect("only the test button of Airflow's own form uses it"),
        "profile": refused("use `profile_name`"),
        "s3_config_file": refused("use `profile_name`"),
        "s3_config_format": refused("use `profile_name`"),
        "external_id": refused("write `ExternalId` into `assume_role_kwargs`"),
    },
    others=refused("the name is unknown here, and to Airflow's hook"),
)

_AUTHORITY = (
    "who gives tokens: a host of Azure's (public, US government, China); another one, as of Azure Stack, only where "
    "`LOGSTREAM_ALLOW_PRIVATE_ADDRESSES=1` is set"
)
_PROXIES = "proxies for `http` and `https`, before those of the environment"

WASB = ConnectionFields(
    kind="wasb",
    title="Azure Blob Storage",
    standard={
        "host": used("the account's address, or its name"),
        "port": refused("put the account's whole address into `host`"),
        "login": used("the account's name; with `tenant_id`, the client id"),
        "password": used("the account's key; with `tenant_id`, the client secret"),
    },
    extras={
        "connection_string": used("Azure's connection string, before all else"),
        "shared_access_key": used("the account's key"),
        "account_key": used("the account's key"),
        "sas_token": used("a SAS, or an address with one"),
        "tenant_id": used("the tenant: login and password are a service principal's"),
        "managed_identity_client_id": used("which managed identity, where there is no key"),
        "workload_identity_tenant_id": used("which workload identity, where there is no key"),
        "client_secret_auth_config.authority": used(_AUTHORITY),
        "client_secret_auth_config.disable_instance_discovery": used("for authorities that are not Azure's"),
        "client_secret_auth_config.connection_verify": used("as `connection_verify`, for the requests for tokens"),
        "client_secret_auth_config.proxies": refused("tokens are asked for by the proxies of the environment"),
        "proxies": used(_PROXIES),
        "connection_verify": used(
            "false: certificates are not verified. A path: the certificates in this file (PEM) are trusted beside the machine's"
        ),
        "connection_timeout": used("seconds until a connection stands"),
        "read_timeout": used("seconds a request may take"),
    },
    others=refused("Airflow's hook hands it to Azure's client, which sends no objects here"),
    prefix="extra__wasb__",
)

AZURE = ConnectionFields(
    kind="azure",
    title="Azure",
    standard={
        "login": used("the client id, together with the password"),
        "password": used("the client secret"),
    },
    extras={
        "tenantId": used("the tenant"),
        "tenant_id": used("the same"),
        "subscriptionId": no_effect("the data collection rule has its own address"),
        "managed_identity_client_id": used("which managed identity, where there is no login"),
        "workload_identity_tenant_id": used("which workload identity, where there is no login"),
        "cloud_environment": used("`AzurePublicCloud`, `AzureUSGovernment` or `AzureChinaCloud`: who gives tokens"),
        "authority": used(_AUTHORITY),
        "use_azure_identity_object": no_effect("azure-identity is always used"),
        "key_path": refused("write client id, client secret and `tenantId` into the connection"),
        "key_json": refused("write client id, client secret and `tenantId` into the connection"),
    },
    others=refused("the name is unknown here; proxies and certificates are those of the environment"),
    prefix="extra__azure__",
)

_NO_GOOGLE = "use `keyfile_dict`, `key_path` or the environment's own credentials"

GOOGLE = ConnectionFields(
    kind="google_cloud_platform",
    title="Google Cloud",
    standard={},
    extras={
        "keyfile_dict": used("a service account's key, its JSON"),
        "key_path": used("a file with it"),
        "is_anonymous": used("requests are not signed"),
        "endpoint_url": used("the address of another server than Google's; else `STORAGE_EMULATOR_HOST`"),
        "project": no_effect("a bucket's name is enough"),
        "scope": no_effect("the service account's grants decide"),
        "num_retries": no_effect("the engine repeats requests itself"),
        "credential_config_file": refused(_NO_GOOGLE),
        "key_secret_name": refused(_NO_GOOGLE),
        "key_secret_project_id": refused(_NO_GOOGLE),
        "impersonation_chain": refused(_NO_GOOGLE),
        "idp_issuer_url": refused(_NO_GOOGLE),
        "client_id": refused(_NO_GOOGLE),
        "client_secret": refused(_NO_GOOGLE),
        "idp_extra_parameters": refused(_NO_GOOGLE),
        "idp_extra_params": refused(_NO_GOOGLE),
        "quota_project_id": refused("requests are billed to the bucket's project"),
    },
    others=refused("the name is unknown here; proxies and certificates are those of the environment"),
    prefix="extra__google_cloud_platform__",
)

_REDIRECTS = "redirects are never followed"
_VERIFY = (
    "a path: only the certificates in this file (PEM) are trusted. True is what is done anyway; with false the connection is "
    "refused: certificates are always verified"
)

HTTP = ConnectionFields(
    kind="http",
    title="HTTP",
    standard={
        "host": used("the base URL, or its host"),
        "port": used("the port, where the host names none"),
        "schema": used("`http` or `https`; anything else is a path"),
        "login": used("user's name of basic authentication"),
        "password": used("its password; for most vendors the token"),
    },
    extras={
        "headers": used("headers of every request, an object; without it, every unknown name is a header"),
        "webhook_secret": used("the secret of signed webhooks"),
        "ca": used("the only certificates that are trusted, PEM text"),
        "client_certificate": used("certificate and key for mutual TLS, PEM text"),
        "verify": used(_VERIFY),
        "verify_ssl": used("the same"),
        "cert": used("the path of a file with certificate and key for mutual TLS, or a list of the two paths"),
        "proxies": used("a proxy's address, or an object with those for `http` and `https`, before those of the environment"),
        "proxy": used("the same"),
        "trust_env": used("false: proxies and certificates of the environment are not looked at"),
        "timeout": used("seconds a request may take, 1 to 600 (left out, 60)"),
        "stream": refused("answers are always read", False),
        "allow_redirects": refused(_REDIRECTS, False),
        "max_redirects": refused(_REDIRECTS, 0),
        "check_response": refused("answers are always checked", True),
        "srv_lookup": refused("name the host", False, "false", "False"),
    },
    others=used("a header; with `headers` it is refused, for it belongs there"),
    takes=lambda _: True,
)  # fmt: skip

_LIBPQ = frozenset(option.keyword.decode() for option in Conninfo.get_defaults())
"""The parameters of libpq."""

_NO_POSTGRES = "write host, user and password (or a libpq parameter) into the connection"
POSTGRES = ConnectionFields(
    kind="postgres",
    title="PostgreSQL",
    standard={
        "host": used("the server"),
        "port": used("its port"),
        "schema": used("the database"),
        "login": used("the role"),
        "password": used("its password"),
    },
    extras={
        **{name: refused(_NO_POSTGRES) for name in
           ("iam", "aws_conn_id", "redshift", "redshift-serverless", "cluster-identifier", "workgroup-name", "azure_conn_id")},
        **{name: refused("Logstream chooses how it reads") for name in ("cursor", "sqlalchemy_scheme", "sqlalchemy_query")},
    },
    others=used("if it is a parameter of libpq, such as `sslmode`; all else is refused"),
    takes=_LIBPQ.__contains__,
)  # fmt: skip

TYPES = {fields.kind: fields for fields in (AWS, WASB, AZURE, GOOGLE, HTTP, POSTGRES)}
