"""The PostgreSQL of tests leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import psycopg
import pytest

from logstream.testing.postgres import quick_postgres


@pytest.mark.parametrize("killed", [False, True])
def test_nothing_of_it_is_left_though_it_was_killed(killed: bool) -> None:
    with quick_postgres() as dsn:
        with psycopg.connect(dsn) as connection:
            (row,) = connection.execute("show data_directory").fetchall()
        data = Path(row[0])
        number = int((data / "postmaster.pid").read_text().split()[0])
        mapped = set(re.findall(r"/dev/shm/\S+", Path(f"/proc/{number}/maps").read_text()))
        assert {name for name in mapped if not name.startswith(str(data))} == set(), "its folder is all there is of it"
        if killed:
            os.kill(number, signal.SIGKILL)
            while Path(f"/proc/{number}/stat").exists() and " Z " not in Path(f"/proc/{number}/stat").read_text():
                time.sleep(0.01)
    assert not data.parent.exists()
