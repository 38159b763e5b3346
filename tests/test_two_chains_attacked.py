"""A person who has the control database and the folder changes a chain that has ended: the one that goes on vouches for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from logstream.export.exporter import Exporter
from logstream.proof.manifests import Manifest, digest_of
from logstream.proof.signing import Signer
from tests.auditor import audited
from tests.test_engine import Make, engine, filled
from tests.test_two_chains import (
    KEY,
    SPAN,
    beside,
    exported,
    exporter,
    found,
    new_database,
    out,
    rows,
    window,
)  # fmt: skip

__all__ = ["Make", "engine", "exporter", "filled", "out"]  # fixtures

LIVES = {"the folder's": ("on on service", True), "the ledger's": ("service service on", False)}


def of_chain(exporter: Exporter, *, is_beside: bool) -> list[Manifest]:
    return [item for item in exporter.ledger.manifests_within(SPAN) if item.beside is is_beside]


def written(connection: psycopg.Connection, out: Path, item: Manifest) -> None:
    """Write a manifest over that of its place, where it is kept."""
    connection.execute(
        "update logstream.manifests set document = %s, digest = %s, signature = null where position = %s",
        (item.document, item.digest, item.position),
    )
    if item.beside:
        path = out / "_manifests" / "d" / f"{item.sequence:08d}.json"
        path.write_text(item.document)
        path.with_suffix(".sig").unlink(missing_ok=True)


def rewrite(exporter: Exporter, connection: psycopg.Connection, out: Path, chain: list[Manifest]) -> None:
    """All of it anew, without a signature: the first tells of other settings."""
    previous = None
    for item in chain:
        fields = item.fields | {"previous": previous, "key": None}
        if item.sequence == 1:
            fields["bytes"] += 1
        document = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        previous = digest_of(document)
        written(connection, out, replace(item, document=document, digest=previous))


def cut_off(exporter: Exporter, connection: psycopg.Connection, out: Path, chain: list[Manifest]) -> None:
    """Its end, and all that was delivered then, never was."""
    connection.execute("delete from logstream.manifests where position = %s", (chain[-1].position,))
    connection.execute("delete from logstream.deliveries where id = %s", (chain[-1].delivery_id,))
    if chain[-1].beside:
        for path in (out / "_manifests" / "d").glob(f"{chain[-1].sequence:08d}*"):
            path.unlink()
    for path in out.rglob("*.ndjson"):
        if f"{chain[-1].window.start:%Y%m%dT%H%M%S}" in str(path):
            path.unlink()


def add_to(exporter: Exporter, connection: psycopg.Connection, out: Path, chain: list[Manifest]) -> None:
    """One more, of a time that nobody looks at."""
    connection.execute(
        """insert into logstream.manifests (destination, position, sequence, beside, delivery_id, generation, window_start,
               window_end, document, digest, sealed_at, put_at)
           select destination, -7, sequence + 1, beside, 0, 0, window_start - interval '9 years',
               window_end - interval '9 years', %s, %s, sealed_at, sealed_at
           from logstream.manifests where position = %s""",
        (*_following(chain[-1]), chain[-1].position),
    )


def _following(end: Manifest) -> tuple[str, str]:
    document = json.dumps(
        end.fields | {"sequence": end.sequence + 1, "previous": end.digest, "key": None}, sort_keys=True
    )
    return document, digest_of(document)


@pytest.mark.parametrize("attack", [rewrite, cut_off, add_to])
@pytest.mark.parametrize("ended", LIVES)
@pytest.mark.parametrize("key", [None, KEY], ids=["unsigned", "signed"])
def test_a_chain_that_has_ended_is_vouched_for_by_the_other(
    exporter: Exporter,
    filled: psycopg.Connection,
    out: Path,
    key: Signer | None,
    ended: str,
    attack: Callable[[Exporter, psycopg.Connection, Path, list[Manifest]], None],
) -> None:
    exporter.signer = key
    life, is_beside = LIVES[ended]
    exported(exporter, out, life)
    assert found(exporter) == []
    attack(exporter, filled, out, of_chain(exporter, is_beside=is_beside))
    assert any("does not vouch for manifest" in what for what in found(exporter))


def test_what_vouches_is_in_the_manifest(exporter: Exporter, out: Path) -> None:
    """Where there is one chain, a manifest is what it was before there could be two."""
    exported(exporter, out, "on on service on")
    made = exporter.ledger.manifests_within(SPAN)
    ends = [None, None, made[1], made[2]]
    assert [item.fields.get("other_chain") for item in made] == [
        end and {"sequence": end.sequence, "sha256": end.digest} for end in ends
    ]


def test_a_new_control_database_vouches_for_what_it_has(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    """What the chain beside the data says of a chain in the ledger that is gone is no one's fault, and made good at once."""
    life = "service on service on"
    exported(exporter, out, life)
    new_database(filled)
    exported(exporter, out, life)
    assert beside(out) == [1, 2, 3] and found(exporter) == []
    # once it does, a window that is exported again to the same objects keeps its manifest
    exported(exporter, out, "on", 3)
    assert beside(out) == [1, 2, 3] and found(exporter) == []


def test_what_is_taken_over_is_no_newer_than_what_was_made_since(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    """A new control database makes a window the service's, and finds the folder's manifest of it afterwards."""
    exported(exporter, out, "on on")
    new_database(filled)
    exported(exporter, out, "service on")
    assert rows(filled) == [(True, 1), (False, 1), (True, 2), (True, 3)]
    first = exporter.ledger.manifests_within(window(0))[-1]
    assert (first.beside, first.sequence) == (False, 1), "it is in force"
    # what the folder had got of the window before is of no delivery that this ledger knows
    assert [what.rpartition(" is extra")[2] for what in found(exporter)] == [": no delivery made it"]
    assert audited(out).problems == [] and beside(out) == [1, 2, 3]
    exported(exporter, out, "on", 0)
    assert found(exporter) == [] and beside(out) == [1, 2, 3, 4]
    assert exporter.ledger.manifests_within(window(0))[-1].sequence == 4
