"""What people would use instead, each as its own documentation has it. Runs in the benchmark's own environment.

`python benchmarks/peers.py NAME DSN RECEIVER EVENTS`: prints one JSON line; imports are not measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

THREADS = 16
MESSAGE = b'{"source": "workato", "event": %s}'


def payloads(dsn: str, sql: str) -> list[bytes]:
    """The events' messages, read before the clock starts: the object and request cases measure sending alone."""
    import psycopg

    with psycopg.connect(dsn) as connection, connection.cursor() as cursor, cursor.copy(sql) as copy:
        copy.set_types(["bytea"])
        return [MESSAGE % bytes(row[0]) for row in copy.rows()]


def pandas_path(dsn: str, receiver: str, sql: str) -> int:
    """SqlToS3Operator (amazon provider): read with pandas, `to_json` lines with gzip into a file, upload it."""
    import boto3
    import pandas
    import sqlalchemy
    from boto3.s3.transfer import TransferConfig

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn))
    frame = pandas.read_sql(sql, engine)
    with tempfile.NamedTemporaryFile(mode="w", suffix=".json.gz") as file:
        frame.to_json(file.name, orient="records", lines=True, compression="gzip", date_format="iso")
        # the null receiver knows no multipart uploads
        _s3(boto3, receiver).upload_file(
            file.name, "audit", "pandas/window.json.gz", Config=TransferConfig(multipart_threshold=2**40)
        )
    return len(frame)


def dlt_path(dsn: str, receiver: str, sql: str) -> int:
    """dlt: `sql_table` with the pyarrow backend, to filesystem as JSON lines with gzip."""
    del receiver
    import dlt
    import sqlalchemy
    from dlt.destinations import filesystem
    from dlt.sources.sql_database import sql_table

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: _connect(dsn))
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            f"bench_{os.getpid()}", destination=filesystem(f"file://{folder}/out"), dataset_name="audit",
            pipelines_dir=f"{folder}/state",
        )  # fmt: skip
        wanted = sql.split("where", 1)[1].rsplit("order by", 1)[0]
        table = sql_table(
            engine, table="events", backend="pyarrow", chunk_size=50_000,
            query_adapter_callback=lambda query, _: query.where(sqlalchemy.text(wanted)),
        )  # fmt: skip
        pipeline.run(table, loader_file_format="jsonl")
        counts = pipeline.last_trace.last_normalize_info.row_counts
        return int(counts["events"])


def boto3_pool(bodies: list[bytes], receiver: str) -> None:
    """boto3's put_object from a pool of threads."""
    import boto3

    client = _s3(boto3, receiver)
    _pool(bodies, lambda index, body: client.put_object(Bucket="audit", Key=f"boto3/{index}.json", Body=body))


def obstore_raw(bodies: list[bytes], receiver: str) -> None:
    """obstore's put from threads, with nothing else: the limit."""
    import obstore
    from obstore.store import S3Store

    store = S3Store(
        "audit", region="us-east-1", endpoint=receiver, access_key_id="key", secret_access_key="secret",
        virtual_hosted_style_request=False, client_options={"allow_http": True},
    )  # fmt: skip
    _pool(bodies, lambda index, body: obstore.put(store, f"raw/{index}.json", body, use_multipart=False))


def obstore_azure(bodies: list[bytes], receiver: str) -> None:
    """The same at Azure."""
    import obstore
    from obstore.store import AzureStore

    store = AzureStore(
        "audit", account_name="bench", account_key="a2V5", endpoint=f"{receiver}/azure",
        client_options={"allow_http": True},
    )  # fmt: skip
    _pool(bodies, lambda index, body: obstore.put(store, f"raw/{index}.json", body, use_multipart=False))


def azure_pool(bodies: list[bytes], receiver: str) -> None:
    """azure-storage-blob's upload_blob from a pool of threads."""
    from azure.storage.blob import BlobServiceClient

    text = f"AccountName=bench;AccountKey=a2V5;BlobEndpoint={receiver}/azure;DefaultEndpointsProtocol=http"
    client = BlobServiceClient.from_connection_string(text).get_container_client("audit")
    _pool(bodies, lambda index, body: client.upload_blob(f"pool/{index}.json", body, overwrite=True))


def requests_pool(bodies: list[bytes], receiver: str) -> None:
    """requests from a pool of threads, a session each."""
    import threading

    import requests

    local = threading.local()

    def post(_: int, body: bytes) -> None:
        session = getattr(local, "session", None)
        if session is None:
            session = local.session = requests.Session()
        session.post(f"{receiver}/in", data=body, headers={"Content-Type": "application/json"}).raise_for_status()

    _pool(bodies, post)


def aiohttp_raw(bodies: list[bytes], receiver: str) -> None:
    """aiohttp's posts, 32 at once, with nothing else: the limit."""
    import asyncio

    import aiohttp

    async def run() -> None:
        left = iter(bodies)
        async with aiohttp.ClientSession() as session:

            async def worker() -> None:
                for body in left:
                    async with session.post(
                        f"{receiver}/in", data=body, headers={"Content-Type": "application/json"}
                    ) as answer:
                        await answer.read()

            await asyncio.gather(*(worker() for _ in range(32)))

    asyncio.run(run())


def _pool(bodies: list[bytes], put: Callable[[int, bytes], object]) -> None:
    # slices, not one future an event: the peer shall not pay for our bookkeeping
    def some(first: int) -> None:
        for index in range(first, len(bodies), THREADS):
            put(index, bodies[index])

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(some, range(THREADS)))


def _connect(dsn: str) -> object:
    import psycopg

    return psycopg.connect(dsn)


def _s3(boto3: object, receiver: str) -> object:
    from botocore.config import Config

    return boto3.client(  # type: ignore[attr-defined]
        "s3", endpoint_url=receiver, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret",
        config=Config(max_pool_connections=THREADS, s3={"addressing_style": "path"}),
    )  # fmt: skip


WINDOWS = {"pandas": pandas_path, "dlt": dlt_path}
SENDERS = {
    "boto3": boto3_pool, "obstore": obstore_raw, "obstore-azure": obstore_azure, "azure": azure_pool,
    "requests": requests_pool, "aiohttp": aiohttp_raw,
}  # fmt: skip
MODULES = {
    "pandas": ("pandas", "boto3", "sqlalchemy", "psycopg"),
    "dlt": ("dlt", "pyarrow", "sqlalchemy", "psycopg"),
    "boto3": ("boto3",),
    "obstore": ("obstore",),
    "obstore-azure": ("obstore",),
    "azure": ("azure.storage.blob",),
    "requests": ("requests",),
    "aiohttp": ("aiohttp",),
}


def main() -> None:
    """Run one peer."""
    name, dsn, receiver, start, end = sys.argv[1:]
    for module in MODULES[name]:
        __import__(module)
    where = f"where recorded_at >= '{start}' and recorded_at < '{end}' order by recorded_at, id"
    if name in WINDOWS:
        began = time.perf_counter()
        # as text: parsing it is spared the peer, too
        columns = "id, workspace_id, kind, occurred_at, recorded_at, payload::text as payload"
        events = WINDOWS[name](dsn, receiver, f"select {columns} from events {where}")
    else:
        bodies = payloads(dsn, f"copy (select payload from events {where}) to stdout (format binary)")
        began = time.perf_counter()
        SENDERS[name](bodies, receiver)
        events = len(bodies)
    print(json.dumps({"events": events, "seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    main()
