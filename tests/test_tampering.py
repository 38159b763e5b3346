"""Whatever is done to a sealed folder, `logstream verify` and the auditor's script find it, and name the same objects."""

from __future__ import annotations

import ast
import base64
import gzip
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from logstream.database import connect
from logstream.export.exporter import Exporter
from logstream.proof.signing import Signer
from logstream.store.load import load_file
from logstream.store.schema import create_tables
from logstream.testing.events import EventMaker, workspace_line
from logstream.validation import validate_settings
from logstream.verify.verifier import verify
from logstream.window import Window
from tests.auditor import SCRIPT, audit, audited, manifests_named, objects_named
from tests.test_engine import QUICK, START, WINDOW, WORKSPACES, Connections, export, override

WINDOWS = [Window(START + timedelta(minutes=n), START + timedelta(minutes=n + 1)) for n in range(5)]
SIGNER = Signer.of(base64.b64encode(b"s" * 32).decode())
OTHER = Signer.of(base64.b64encode(b"o" * 32).decode())
KEY = SIGNER.public_key


class Deployment:
    """Five windows, exported to a folder that can be put back as it was."""

    def __init__(self, exporter: Exporter, out: Path) -> None:
        self.exporter, self.out = exporter, out
        self._copy = out.with_name("copy")
        shutil.copytree(out, self._copy)
        self.newest = next(line for line in audited(out).lines if "newest manifest" in line).split("digest ")[1][:64]

    def restore(self) -> None:
        shutil.rmtree(self.out)
        shutil.copytree(self._copy, self.out)

    @property
    def untouched(self) -> bool:
        return files(self.out) == files(self._copy)

    def found(self) -> list[str]:
        return [finding.what for finding in verify(self.exporter, WINDOW).findings]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file() and "_manifests" not in path.parts)


@pytest.fixture(scope="module", params=["file", "batch"])
def deployment(
    request: pytest.FixtureRequest, postgres: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("tampering")
    name = f"tampering_{request.param}"
    with connect(postgres) as connection:
        connection.execute(f"create database {name}")
    dsn = make_conninfo(postgres, dbname=name)
    with connect(dsn) as store:
        create_tables(store)
        lines = EventMaker(WORKSPACES[:4]).lines(120, START, timedelta(minutes=5))
        file = folder / "events.ndjson"
        file.write_text("\n".join([*map(workspace_line, WORKSPACES[:4]), *lines]) + "\n")
        load_file(store, file)
    with Exporter(dsn, dsn, Connections(), policy=QUICK, signer=lambda: SIGNER) as exporter:
        out = {"type": "file", "path": str(folder / "out"), "packaging": request.param, "manifests": True, "lanes": 2}
        document = override(out)
        exporter.settings.apply(validate_settings(document))
        for window in WINDOWS:
            _, reports = export(exporter, window)
            assert [report.error for report in reports] == [None]
        yield Deployment(exporter, folder / "out")
    with connect(postgres) as connection:
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture
def sealed(deployment: Deployment) -> Iterator[Deployment]:
    yield deployment
    deployment.restore()


def chain(out: Path, name: str) -> Path:
    return out / "_manifests" / "d" / name


def rewrite(out: Path, number: int, sign: Signer | None, **fields: object) -> None:
    """Rewrite a manifest and all after it, so that the chain holds."""
    previous = None
    for path in sorted(chain(out, "").glob("*.json")):
        document = json.loads(path.read_text())
        if int(path.stem) >= number:
            document["previous"] = previous
            document["key"] = sign.public_key if sign else None
            document.update(fields if int(path.stem) == number else {})
            text = json.dumps(document, sort_keys=True, separators=(",", ":"))
            path.write_text(text)
            if sign:
                path.with_suffix(".sig").write_text(sign.sign(text))
            else:
                path.with_suffix(".sig").unlink()
        import hashlib

        previous = hashlib.sha256(path.read_bytes()).hexdigest()


def put(path: Path, body: bytes = b'{"hidden": true}') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def edited(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def swapped(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def moved(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)


def linked(path: Path, elsewhere: Path) -> None:
    shutil.copy(path, elsewhere)
    path.unlink()
    path.symlink_to(elsewhere)


def forged_chain(out: Path) -> None:
    """Our chain once more, as that of another destination."""
    shutil.copytree(chain(out, ""), out / "_manifests" / "e")


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "an object deleted": lambda out: objects(out)[3].unlink(),
    "an object altered": lambda out: edited(objects(out)[3]),
    "an object cut": lambda out: objects(out)[3].write_bytes(objects(out)[3].read_bytes()[:-1]),
    "an object emptied": lambda out: objects(out)[3].write_bytes(b""),
    "two objects swapped": lambda out: swapped(objects(out)[2], objects(out)[3]),
    "an object moved to the top": lambda out: moved(objects(out)[3], out / objects(out)[3].name),
    "an object moved below the copy of its path": lambda out: moved(
        objects(out)[3], out / objects(out)[3].relative_to(out).parts[-2] / objects(out)[3].name
    ),
    "an object added": lambda out: put(objects(out)[3].with_name("another.json")),
    "a hidden object added": lambda out: put(objects(out)[3].with_name(".hidden")),
    "an unfinished write left": lambda out: put(objects(out)[3].with_name(".part-0123456789abcdef01234567")),
    "an object added at the top": lambda out: put(out / "another.json"),
    "a file in `_manifests/`": lambda out: put(out / "_manifests" / "notes.txt"),
    "a file in the chain's folder": lambda out: put(chain(out, "notes.txt")),
    "a file named nearly like a manifest": lambda out: put(chain(out, "3.json")),
    "a manifest of a number that is none": lambda out: put(chain(out, "00000000.json"), chain(out, "00000001.json").read_bytes()),
    "a listing of a number that is none": lambda out: put(chain(out, "00000003-00001.ndjson.gz")),
    "a listing of superseded objects that is none": lambda out: put(chain(out, "00000003-superseded-00000.ndjson.gz")),
    "a file in a folder of the chain": lambda out: put(chain(out, "more") / "00000003.json"),
    "a file in a nested `_manifests/`": lambda out: put(out / "x" / "_manifests" / "notes.json"),
    "a manifest in a nested `_manifests/`": lambda out: put(
        out / "x" / "_manifests" / "d" / "00000003.json", chain(out, "00000003.json").read_bytes()
    ),
    "a file in an object's folder's `_manifests/`": lambda out: put(objects(out)[3].parent / "_manifests" / "notes.json"),
    "a file in `_logstream_check/`": lambda out: put(out / "_logstream_check" / "notes.json"),
    "a file like that of a check": lambda out: put(out / "_logstream_check" / "0123456789abcdef"),
    "a file in a nested `_logstream_check/`": lambda out: put(out / "x" / "_logstream_check" / "0123456789abcdef", b"{}"),
    "a manifest deleted": lambda out: chain(out, "00000002.json").unlink(),
    "the first manifest deleted": lambda out: chain(out, "00000001.json").unlink(),
    "manifests deleted in the middle": lambda out: [chain(out, f"0000000{n}.json").unlink() for n in (2, 3, 4)],
    "a manifest altered": lambda out: edited(chain(out, "00000002.json")),
    "the newest manifest altered": lambda out: edited(chain(out, "00000005.json")),
    "a manifest that is no JSON": lambda out: put(chain(out, "00000002.json"), b"\xff{"),
    "a manifest that is another JSON": lambda out: put(chain(out, "00000002.json"), b'["' + b"[" * 100_000),
    "a manifest of other types": lambda out: put(chain(out, "00000002.json"), b'{"sequence": "2", "window": []}'),
    "an old manifest replayed": lambda out: shutil.copy(chain(out, "00000002.json"), chain(out, "00000003.json")),
    "two manifests swapped": lambda out: swapped(chain(out, "00000002.json"), chain(out, "00000003.json")),
    "a signature deleted": lambda out: chain(out, "00000003.sig").unlink(),
    "the newest signature deleted": lambda out: chain(out, "00000005.sig").unlink(),
    "a signature altered": lambda out: edited(chain(out, "00000003.sig")),
    "a signature of another manifest": lambda out: shutil.copy(chain(out, "00000002.sig"), chain(out, "00000003.sig")),
    "all rewritten without signatures": lambda out: rewrite(out, 1, None),
    "the newest rewritten without signature": lambda out: rewrite(out, 5, None, events=0),
    "the newest rewritten by another key": lambda out: rewrite(out, 5, OTHER, rejected=7),
    "all rewritten by another key": lambda out: rewrite(out, 1, OTHER),
    "one rewritten by another key, those after it by ours": lambda out: [rewrite(out, 3, OTHER), rewrite(out, 4, SIGNER)],
    "a listing deleted": lambda out: chain(out, "00000002-00000.ndjson.gz").unlink(),
    "a listing altered": lambda out: put(
        chain(out, "00000002-00000.ndjson.gz"), chain(out, "00000003-00000.ndjson.gz").read_bytes()
    ),
    "a listing that is no gzip": lambda out: put(chain(out, "00000002-00000.ndjson.gz"), b"no"),
    "a listing that is cut": lambda out: put(
        chain(out, "00000002-00000.ndjson.gz"), chain(out, "00000002-00000.ndjson.gz").read_bytes()[:-9]
    ),
    "a listing with lines that are none": lambda out: put(
        chain(out, "00000002-00000.ndjson.gz"), gzip.compress(b'{"name": "../../etc/passwd"}\n[]\n')
    ),
    "a chain's folder named anew": lambda out: moved(chain(out, ""), out / "_manifests" / "e"),
    "a chain copied": forged_chain,
    "manifests moved below the objects": lambda out: moved(out / "_manifests", out / "x" / "_manifests"),
}  # fmt: skip


def test_nothing_is_found_where_nothing_was_done(sealed: Deployment) -> None:
    assert sealed.found() == []
    found = audited(sealed.out, "--key", KEY, "--digest", sealed.newest)
    assert (found.code, found.problems) == (0, [])
    assert f"d: newest manifest 5, digest {sealed.newest}, key {KEY}" in found.lines
    assert found.lines[-1] == f"5 manifests, 120 events in {len(objects(sealed.out))} objects: no problems"


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_both_verifiers_find_it_and_name_the_same(sealed: Deployment, tampering: str) -> None:
    TAMPERINGS[tampering](sealed.out)
    ours = sealed.found()
    theirs = audited(sealed.out, "--key", KEY) if any(sealed.out.glob("_manifests/*/*")) else None
    if theirs is None:  # it says that there is nothing to begin with
        assert audit(sealed.out).returncode == 2
        assert any("manifest _manifests/d/00000001.json is missing" in what for what in ours)
        return
    assert ours and theirs.code == 1, (ours, theirs)
    if [path.name for path in (sealed.out / "_manifests").iterdir() if path.is_dir()] == ["d"]:
        assert objects_named(ours) == objects_named(theirs.problems), (ours, theirs)
        assert bool(manifests_named(ours)) == bool(manifests_named(theirs.problems)), (ours, theirs)
        assert not manifests_named(ours) or manifests_named(ours) & manifests_named(theirs.problems), (ours, theirs)


def test_a_folder_by_links_is_found(sealed: Deployment, tmp_path: Path) -> None:
    linked(objects(sealed.out)[0], tmp_path / "elsewhere")
    (sealed.out / "more").symlink_to(tmp_path, target_is_directory=True)
    found = audited(sealed.out)
    assert f"object {objects(sealed.out)[0].relative_to(sealed.out)} is no plain file" in found.problems
    assert "more is extra: no manifest speaks of it" in found.problems


def cut_the_tail(out: Path, left: int) -> None:
    """Remove the newest manifests with all that they speak of."""
    for path in sorted(chain(out, "").glob("*-00000.ndjson.gz")):
        if int(path.name[:8]) > left:
            for line in gzip.decompress(path.read_bytes()).splitlines():
                (out / json.loads(line)["name"]).unlink(missing_ok=True)
            for file in chain(out, "").glob(f"{path.name[:8]}*"):
                file.unlink()


@pytest.mark.parametrize("left", [4, 1])
def test_the_newest_manifests_can_be_removed_unseen_by_an_auditor_only_without_their_digest(
    sealed: Deployment, left: int
) -> None:
    cut_the_tail(sealed.out, left)
    assert sealed.found()
    # what docs/manifests.md says cannot be found
    assert audited(sealed.out, "--key", KEY).code == 0
    found = audited(sealed.out, "--key", KEY, "--digest", sealed.newest)
    assert found.code == 1
    assert f"no manifest has the digest {sealed.newest}" in found.problems[0]


def test_an_auditor_without_the_key_sees_that_a_chain_is_no_longer_signed(sealed: Deployment) -> None:
    rewrite(sealed.out, 5, None)
    assert "d: manifest 5 is not signed, though manifest 1 before it is" in audited(sealed.out).problems


def test_a_chain_that_has_none_of_the_digests_is_forged(sealed: Deployment) -> None:
    assert audited(sealed.out, "--digest", "0" * 64).code == 1
    assert audited(sealed.out, "--digest", sealed.newest.upper()).code == 0


def test_what_is_no_key_and_no_folder_is_bad_usage(sealed: Deployment, tmp_path: Path) -> None:
    for arguments in ([sealed.out, "--key", "no"], [sealed.out, "--digest", "no"], [tmp_path], [tmp_path / "none"]):
        done = audit(*arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert "error: " in done.stderr


def test_an_auditor_needs_nothing_but_python(sealed: Deployment) -> None:
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}
    done = audit(sealed.out, isolated=True)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "signatures were not verified: that needs the package `cryptography`" in done.stdout
    done = audit(sealed.out, "--key", KEY, isolated=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --key needs the package `cryptography`: pip install cryptography\n"
    # a signature that is gone is found without it, and a key that is another's with it
    chain(sealed.out, "00000003.sig").unlink()
    assert "d: the signature of manifest 3 is missing" in audit(sealed.out, isolated=True).stdout
    found = audited(sealed.out, "--key", OTHER.public_key)
    assert "d: manifest 5 is not signed by a key that was given, nor is one after it" in found.problems


def delete(out: Path, chance: random.Random) -> None:
    _any(out, chance).unlink()


def truncate(out: Path, chance: random.Random) -> None:
    path = _any(out, chance)
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def edit(out: Path, chance: random.Random) -> None:
    path = _any(out, chance)
    body = bytearray(path.read_bytes())
    # nine bytes of a gzip's head (its time, its system) tell nothing of what is in it
    start = 10 if path.suffix == ".gz" else 0
    body[chance.randrange(start, len(body))] ^= 1 << chance.randrange(8)
    path.write_bytes(body)


def swap(out: Path, chance: random.Random) -> None:
    swapped(_any(out, chance), _any(out, chance))


def rename(out: Path, chance: random.Random) -> None:
    path = _any(out, chance)
    path.rename(path.with_name(f"{path.name[:-1]}{chance.choice('xyz')}"))


def add(out: Path, chance: random.Random) -> None:
    path = _any(out, chance)
    place = chance.choice([path.parent, out, out / "_manifests", path.parent / "_manifests", path.parent / "new"])
    put(place / chance.choice(["a.json", f"{path.name}.gz", ".x", "00000009.json"]), path.read_bytes())


def replay(out: Path, chance: random.Random) -> None:
    one, other = chance.sample(sorted(chain(out, "").glob("*.json")), 2)
    for suffix in (".json", ".sig"):
        shutil.copy(one.with_suffix(suffix), other.with_suffix(suffix))


def cut_head(out: Path, chance: random.Random) -> None:
    for number in range(1, chance.randrange(2, 5)):
        chain(out, f"{number:08d}.json").unlink()


def cut_tail(out: Path, chance: random.Random) -> None:
    cut_the_tail(out, chance.randrange(1, 5))


def cut_middle(out: Path, chance: random.Random) -> None:
    for path in chain(out, "").glob(f"{chance.randrange(2, 5):08d}*"):
        path.unlink()


def _any(out: Path, chance: random.Random) -> Path:
    return chance.choice([path for path in sorted(out.rglob("*")) if path.is_file() and path.stat().st_size])


@pytest.mark.thorough
@settings(max_examples=20)
@given(
    st.sampled_from([delete, truncate, edit, swap, rename, add, replay, cut_head, cut_tail, cut_middle]),
    st.integers(0, 2**32),
)
def test_random_tampering_is_found_by_both(
    deployment: Deployment, tamper: Callable[[Path, random.Random], None], seed: int
) -> None:
    try:
        tamper(deployment.out, random.Random(seed))
        ours = deployment.found()
        theirs = audited(deployment.out, "--key", KEY, "--digest", deployment.newest)
        assert bool(ours) == bool(theirs.code) == (not deployment.untouched), (tamper.__name__, seed, ours, theirs)
    finally:
        deployment.restore()


def test_a_check_that_could_not_remove_its_file_is_known(sealed: Deployment) -> None:
    put(sealed.out / "_logstream_check" / "0123456789abcdef", b"{}")
    assert sealed.found() == []
    assert audited(sealed.out).code == 0


def test_the_ledger_broken_is_told_in_words(sealed: Deployment) -> None:
    with psycopg.connect(sealed.exporter.store_dsn, autocommit=True) as connection:
        (document,) = connection.execute("select document from logstream.manifests where sequence = 3").fetchone() or ()
        connection.execute("update logstream.manifests set document = '{' where sequence = 3")
        try:
            found = sealed.found()
            assert any(what.startswith("manifest 3 was altered: it is no manifest: ") for what in found), found
        finally:
            connection.execute("update logstream.manifests set document = %s where sequence = 3", (document,))
