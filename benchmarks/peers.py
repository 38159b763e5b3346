"""What people would use instead, each as its own documentation has it. Runs in the benchmark's own environment.

`python benchmarks/peers.py NAME DSN RECEIVER EVENTS`: prints one JSON line; imports are not measured.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

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


CHUNK_ROWS = 25_000


def columnar_sketch(dsn: str, receiver: str, sql: str) -> int:
    """The least that exporting by Arrow columns takes: ADBC, one kernel, igzip, obstore, in a process of two threads.

    No counts, digests, ledger, checkpoints, settings, refusals; no row is looked at. A limit, not something that one can use.
    """
    import obstore
    import pyarrow
    import pyarrow.compute as kernels
    from isal import isal_zlib
    from obstore.store import S3Store

    store = S3Store(
        "audit", region="us-east-1", endpoint=receiver, access_key_id="key", secret_access_key="secret",
        virtual_hosted_style_request=False, client_options={"allow_http": True},
    )  # fmt: skip
    before, behind = pyarrow.scalar(b'{"source": "workato", "event": ', pyarrow.binary()), pyarrow.scalar(b"}\n")
    empty = pyarrow.scalar(b"", pyarrow.binary())
    rows = number = size = 0
    compressor, pieces = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31), list[bytes]()
    for batch in _ahead(dsn, sql):
        rows += batch.num_rows
        payload = batch.column("payload").cast(pyarrow.binary())
        lines = kernels.binary_join_element_wise(before, payload, behind.cast(pyarrow.binary()), empty)
        _, offsets, data = lines.buffers()
        first, last = (int.from_bytes(memoryview(offsets)[4 * at : 4 * at + 4], "little")
                       for at in (lines.offset, lines.offset + len(lines)))  # fmt: skip
        text = memoryview(data)[first:last]
        for start in range(0, len(text), 1 << 18):
            pieces.append(compressor.compress(text[start : start + (1 << 18)]))
        size += len(text)
        if size >= 32 * 1024 * 1024:
            obstore.put(
                store, f"sketch/{number}.ndjson.gz", b"".join([*pieces, compressor.flush()]), use_multipart=False
            )
            compressor, pieces, size, number = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31), [], 0, number + 1
    obstore.put(store, f"sketch/{number}.ndjson.gz", b"".join([*pieces, compressor.flush()]), use_multipart=False)
    return rows


def adbc_alone(dsn: str, receiver: str, sql: str) -> int:
    """What reading by ADBC costs, with nothing after it."""
    del receiver
    return sum(batch.num_rows for batch in _ahead(dsn, sql))


def _ahead(dsn: str, sql: str) -> Iterator[Any]:
    """Record batches of keyset chunks, read by a thread that is two ahead."""
    import queue
    import threading

    import adbc_driver_postgresql.dbapi as adbc

    batches: queue.Queue[Any] = queue.Queue(2)
    select, where = sql.split(" order by ", maxsplit=1)[0], "order by recorded_at, id"

    def read() -> None:
        after = ""
        with adbc.connect(_uri(dsn), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(64 * 1024 * 1024)})
            while True:
                cursor.execute(f"{select} {after} {where} limit {CHUNK_ROWS}")
                rows = 0
                for batch in cursor.fetch_record_batch():
                    rows += batch.num_rows
                    batches.put(batch)
                    if batch.num_rows:
                        moment, number = batch.column("recorded_at")[-1].as_py(), batch.column("id")[-1].as_py()
                        after = f"and (recorded_at, id) > ('{moment.isoformat()}', {number})"
                if rows < CHUNK_ROWS:
                    break
        batches.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (batch := batches.get()) is not None:
        yield batch


def _uri(dsn: str) -> str:
    from urllib.parse import urlencode

    from psycopg.conninfo import conninfo_to_dict

    return f"postgresql:///?{urlencode(conninfo_to_dict(dsn))}"


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


WINDOWS = {"pandas": pandas_path, "dlt": dlt_path, "columnar": columnar_sketch, "adbc": adbc_alone}
SENDERS = {
    "boto3": boto3_pool, "obstore": obstore_raw, "obstore-azure": obstore_azure, "azure": azure_pool,
    "requests": requests_pool, "aiohttp": aiohttp_raw,
}  # fmt: skip
MODULES = {
    "pandas": ("pandas", "boto3", "sqlalchemy", "psycopg"),
    "dlt": ("dlt", "pyarrow", "sqlalchemy", "psycopg"),
    "columnar": ("pyarrow.compute", "adbc_driver_postgresql.dbapi", "obstore", "isal.isal_zlib", "psycopg"),
    "adbc": ("pyarrow", "adbc_driver_postgresql.dbapi", "psycopg"),
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
