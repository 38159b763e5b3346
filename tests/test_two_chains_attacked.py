"""A person who has the control database and the folder changes a chain that has ended: the one that goes on vouches for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from logstream.export.exporter import Exporter
from logstream.proof.manifests import Manifest, digest_of
from logstream.proof.signing import Signer
from tests.auditor import audited
from tests.test_engine import Make, engine, export, filled
from tests.test_sealing import AFTER
from tests.test_two_chains import (
    KEY,
    SPAN,
    beside,
    exported,
    exporter,
    folder_is_away,
    found,
    new_database,
    out,
    rows,
    window,
)
from tests.test_windows import migrate  # fmt: skip

__all__ = ["Make", "engine", "exporter", "filled", "out"]  # fixtures

LIVES = {"the folder's": ("on on service", True), "the ledger's": ("service service on", False)}


Attack = Callable[[Exporter, psycopg.Connection, Path, list[Manifest]], None]


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
    """The attacker adds one more, of a window outside of what `verify` is asked for."""
    connection.execute(
        """insert into logstream.manifests (destination, position, sequence, beside, delivery_id, generation, window_start,
               window_end, document, digest, sealed_at, put_at)
           select destination, position + 1, sequence + 1, beside, 0, 0, window_start - interval '9 years',
               window_end - interval '9 years', %s, %s, sealed_at, sealed_at
           from logstream.manifests where position = %s""",
        (*_following(chain[-1]), chain[-1].position),
    )


def _following(end: Manifest) -> tuple[str, str]:
    document = json.dumps(
        end.fields | {"sequence": end.sequence + 1, "previous": end.digest, "key": None}, sort_keys=True
    )
    return document, digest_of(document)


def remove(exporter: Exporter, connection: psycopg.Connection, out: Path, chain: list[Manifest]) -> None:
    """All of it, with what was delivered."""
    for _ in chain:
        cut_off(exporter, connection, out, chain)
        chain = chain[:-1]


def move(exporter: Exporter, connection: psycopg.Connection, out: Path, chain: list[Manifest]) -> None:
    """Its first manifest is the newest of all, and in force."""
    connection.execute(
        "update logstream.manifests set position = position + 1e12 where position = %s", (chain[0].position,)
    )


WHAT = "says of the other chain"


@pytest.mark.parametrize("attack", [rewrite, cut_off, add_to, remove, move])
@pytest.mark.parametrize("ended", LIVES)
@pytest.mark.parametrize("key", [None, KEY], ids=["unsigned", "signed"])
def test_a_chain_that_has_ended_is_vouched_for_by_the_other(
    exporter: Exporter, filled: psycopg.Connection, out: Path, key: Signer | None, ended: str, attack: Attack
) -> None:
    """And for ever: what is made later hides nothing."""
    exporter.signer = key
    life, is_beside = LIVES[ended]
    exported(exporter, out, life)
    assert found(exporter) == []
    attack(exporter, filled, out, of_chain(exporter, is_beside=is_beside))
    # one more beside the data might be one that was put late: then it is signed by the key of now
    said = ("is not signed" if key else None) if attack is add_to and is_beside else WHAT
    assert said is None or any(said in what for what in found(exporter)), found(exporter)
    exported(exporter, out, life.split()[-1], 3)
    assert said is None or any(said in what for what in found(exporter)), found(exporter)


def test_what_vouches_is_in_the_manifest(exporter: Exporter, out: Path) -> None:
    """Where there is one chain, a manifest is what it was before there could be two."""
    exported(exporter, out, "on on service on")
    made = exporter.ledger.manifests_within(SPAN)
    ends = [None, None, made[1], made[2]]
    assert [item.fields.get("other_chain") for item in made] == [
        end and {"sequence": end.sequence, "sha256": end.digest} for end in ends
    ]


def test_a_new_control_database_hides_not_that_it_is_new(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    """What the chain beside the data says of a chain in the ledger that is gone is found; all goes on, and the folder is whole."""
    life = "service on service on"
    exported(exporter, out, life)
    new_database(filled)
    exported(exporter, out, life)
    (what,) = found(exporter)
    assert WHAT in what and "the control database that made them is gone" in what
    exported(exporter, out, "on", 4)
    assert found(exporter) == [what] and beside(out) == [1, 2, 3]
    assert audited(out).problems == []


def test_what_is_taken_over_is_no_newer_than_what_was_made_since(
    exporter: Exporter, filled: psycopg.Connection, out: Path
) -> None:
    """A new control database makes a window the service's, and finds the folder's manifest of it afterwards."""
    exported(exporter, out, "on on")
    new_database(filled)
    exported(exporter, out, "service on")
    assert rows(filled) == [(True, 1), (True, 2), (False, 1)]
    first = exporter.ledger.manifests_within(window(0))[-1]
    assert (first.beside, first.sequence) == (False, 1), "it is in force"
    # what the folder had got of the window before is of no delivery that this ledger knows
    assert [what.rpartition(" is extra")[2] for what in found(exporter)] == [": no delivery made it"]
    assert audited(out).problems == [] and beside(out) == [1, 2]
    exported(exporter, out, "on", 0)
    assert found(exporter) == [] and beside(out) == [1, 2, 3]
    assert exporter.ledger.manifests_within(window(0))[-1].sequence == 3


@pytest.mark.parametrize("at_a_time", [2, 100])
def test_what_is_taken_over_is_older_than_what_the_ledger_has(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    """Of one window in their middle the ledger has a newer manifest; they are taken over in portions."""
    exported(exporter, out, "on on on on on on")
    monkeypatch.setattr("logstream.export.beside.AT_A_TIME", at_a_time)
    new_database(filled)
    exported(exporter, out, "service", 1)
    exported(exporter, out, "on on", 6)
    assert [number for at, number in rows(filled) if at] == beside(out) == list(range(1, 9))


@pytest.mark.parametrize("pruned", [False, True])
def test_one_beside_the_data_is_not_believed_to_be_in_the_ledger_only(
    exporter: Exporter, filled: psycopg.Connection, out: Path, pruned: bool
) -> None:
    exported(exporter, out, "on on")
    if pruned:
        exporter.ledger.prune(AFTER)
    filled.execute("update logstream.manifests set beside = false")
    shutil.rmtree(out)
    out.mkdir()
    assert any("missing at the destination" in what for what in found(exporter)), found(exporter)


def test_what_was_never_put_needs_no_key_that_comes_later(
    exporter: Exporter, filled: psycopg.Connection, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was away, and its window is the service's now: the end of the chain beside the data stays what it is."""
    exported(exporter, out, "on")
    with folder_is_away(monkeypatch):
        export(exporter, window(1))
    exported(exporter, out, "service", 1)
    exporter.signer = KEY
    exported(exporter, out, "service", 2)
    assert rows(filled)[1] == (True, 2) and not any("signed" in what for what in found(exporter))


@pytest.mark.parametrize("life", ["on on on", "service service"])
def test_a_downgrade_of_one_chain(exporter: Exporter, filled: psycopg.Connection, out: Path, life: str) -> None:
    exported(exporter, out, life)
    exporter.ledger.prune(AFTER)
    exported(exporter, out, life.split(maxsplit=1)[0], 0)  # of it the ledger has forgotten something
    migrate(exporter.engine, "0017", down=True)
    number = len(life.split())
    assert filled.execute("select array_agg(sequence order by sequence) from logstream.manifests").fetchone() == (
        [1 + place for place in range(number)],
    )
    assert filled.execute("select max(forgotten) from logstream.deliveries").fetchone() == (1,)
    migrate(exporter.engine, "head")
    exported(exporter, out, life.split(maxsplit=1)[0], number)
    assert found(exporter) == [] and exporter.ledger.owed() == []


def test_two_chains_have_no_downgrade(exporter: Exporter, out: Path) -> None:
    exported(exporter, out, "on service")
    with pytest.raises(ValueError, match="two chains of manifests, of which version 0017 knows one: d"):
        migrate(exporter.engine, "0017", down=True)
