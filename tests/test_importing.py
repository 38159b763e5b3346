"""Airflow's modules are imported by one thread at a time: they import one another in circles."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = r"""
import sys, threading, time, traceback

together = set()

class Slow:
    '''Takes its time over each module of Airflow's, and sees who else is importing some meanwhile.'''

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != "airflow":
            return None
        me = threading.get_ident()
        for thread, frame in sys._current_frames().items():
            while thread != me and frame is not None:
                if frame.f_code.co_name == "_find_and_load" and frame.f_locals["name"].startswith("airflow."):
                    together.add(name)
                    break
                frame = frame.f_back
        time.sleep(0.002)
        return None

import airflow.sdk  # as in a task
from logstream.airflow.connections import AirflowConnections

sys.meta_path.insert(0, Slow())
connections, failed = AirflowConnections(), []
start = threading.Barrier(6)

def look_up(how, name):
    start.wait()
    try:
        how(name)
    except Exception:
        failed.append(traceback.format_exc())

asked = [(connections.aws, "a"), (connections.http, "h"), (connections.azure_blob, "w")] * 2
threads = [threading.Thread(target=look_up, args=one) for one in asked]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(together), *failed, sep="\n")
"""

CONNECTIONS = {
    "A": '{"conn_type": "aws", "login": "key", "password": "secret", "extra": {"region_name": "us-east-1"}}',
    "H": '{"conn_type": "http", "host": "http://127.0.0.1:1"}',
    "W": '{"conn_type": "wasb", "extra": {"connection_string": "AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/a"}}',
}


def test_connections_that_are_looked_up_side_by_side_import_one_after_another() -> None:
    """Of two threads that come into a circle of modules from two sides Python gives one a module that is half made."""
    variables = {f"AIRFLOW_CONN_{name}": value for name, value in CONNECTIONS.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
