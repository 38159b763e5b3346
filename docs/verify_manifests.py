#!/usr/bin/env python3
"""Verify what Logstream delivered with nothing but its manifests: no Logstream, no database, Python's standard library.

    verify_manifests.py FOLDER [FOLDER ...] [--key PUBLIC_KEY] [--digest SHA256]

FOLDER is a copy of a destination's prefix (`aws s3 sync s3://audit/logs/ FOLDER`), with its `_manifests/`. Checked are the
chain of manifests, their listings, and the size and SHA-256 of each object; every file that no manifest speaks of is named.
A destination that has moved to another bucket or prefix has its chain in several folders: name all of them.

--key (32 bytes in base64, may be repeated) verifies signatures, which needs the package `cryptography`; all else does not.
--digest (may be repeated, once for each chain) is the digest of a manifest that must be there: without it the newest
manifests can be removed together with their objects, and what is left is whole.

Ends with 0 if all is well, with 1 if not, with 2 if it cannot begin. The format is described in docs/manifests.md.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import gzip
import hashlib
import io
import json
import os
import re
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = "logstream-manifest/1"
FOLDER = "_manifests"
MISSING = ("rejected", "lost", "written_off")  # events that a manifest counts and that are in no object
LINE_BYTES = 1 << 16
LISTING_LINES, LISTING_BYTES = 50_000, 256 << 20  # at most, whatever a manifest says
CHECK = r"[^/]*_logstream_check/[0-9a-f]{16}"

Signed = Callable[[bytes, str, str], bool]
"""Whether a document has a signature by a key."""


class Unreadable(Exception):
    """A file is not what it must be: why, in words."""


@dataclass
class Manifest:
    """One manifest, where it was found, and what it says."""

    number: int
    folder: Path  # the copy it is in
    home: str  # `_manifests/DESTINATION/` in that copy
    body: bytes
    fields: dict[str, Any] | None = None

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


@dataclass
class Verifier:
    """Verifies copies of one or more prefixes. What is wrong is in `problems`, in words."""

    folders: list[Path]
    keys: list[str] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    is_signed: Signed | None = None
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.files = {folder: set(files_in(folder)) for folder in self.folders}
        self.known: dict[Path, set[str]] = {folder: set() for folder in self.folders}
        self.chains: dict[str, dict[int, Manifest]] = {}
        self.replaced: list[tuple[Manifest, dict[str, Any]]] = []
        self.manifests = self.events = self.objects = self.superseded = 0
        self.missing = dict.fromkeys(MISSING, 0)
        self.complete = True

    def find(self, problem: str) -> None:
        self.problems.append(problem)

    def run(self) -> None:
        for folder in self.folders:
            self.collect(folder)
        for name in sorted(self.chains):
            self.chain(name, self.chains[name])
        in_force = {folder: set(names) for folder, names in self.known.items()}
        self.superseded_objects(in_force)
        self.pinned()
        self.extra()

    def collect(self, folder: Path) -> None:
        """Find the manifests of one copy. They are below `_manifests/`, or `PREFIX_manifests/` of a prefix without a slash."""
        form = re.compile(rf"((?:[^/]*){FOLDER}/([^/]+)/)(\d{{8,18}})\.json")
        for name in sorted(self.files[folder]):
            found = form.fullmatch(name)
            if not found or f"{int(found[3]):08d}" != found[3] or int(found[3]) == 0:
                continue
            try:
                manifest = Manifest(int(found[3]), folder, found[1], read(folder / name))
            except Unreadable as error:
                self.find(f"{name} {error}")
                continue
            chain = self.chains.setdefault(found[2], {})
            if manifest.number in chain and chain[manifest.number].body != manifest.body:
                self.find(f"{found[2]}: there are two manifests {manifest.number}, and they differ")
            chain.setdefault(manifest.number, manifest)
            self.known[folder].add(name)

    def chain(self, name: str, chain: dict[int, Manifest]) -> None:
        """Numbers from 1 without a gap, each manifest holding the digest of the one before; the newest of a window holds."""
        expected, previous = 1, None
        for number in sorted(chain):
            manifest = chain[number]
            if number != expected:
                missing = (
                    f"manifest {expected} is" if number == expected + 1 else f"manifests {expected} to {number - 1} are"
                )
                self.find(f"{name}: {missing} missing")
                self.complete = False
            try:
                manifest.fields = self.fields(name, manifest)
                if number == expected and manifest.fields["previous"] != previous:
                    self.find(f"{name}: manifest {number} does not hold the digest of the one before it")
            except Unreadable as error:
                self.find(f"{name}: manifest {number} {error}")
                self.complete = False
            expected, previous = number + 1, manifest.digest
            self.manifests += 1
        self.signatures(name, chain)
        trusted = [manifest for _, manifest in sorted(chain.items()) if manifest.fields is not None]
        in_force = {window_of(manifest): manifest for manifest in trusted}
        for manifest in trusted:
            self.delivery(name, manifest, in_force[window_of(manifest)] is manifest)

    def fields(self, name: str, manifest: Manifest) -> dict[str, Any]:
        """What a manifest says, if it is one and in its place."""
        says = manifest_in(manifest.body)
        folder = f"{(says['prefix'] or '').rpartition('/')[2]}{FOLDER}/{says['destination'].replace('..', '=2E=2E')}/"
        if folder != manifest.home:
            raise Unreadable(
                f"is in another's place: it is of destination {says['destination']}, prefix {says['prefix']}"
            )
        if says.get("ledger_only"):
            raise Unreadable("is in another's place: it is of the chain in the ledger")
        if says["sequence"] != manifest.number:
            raise Unreadable(f"is in another's place: it says it is {says['sequence']}")
        return says

    def signatures(self, name: str, chain: dict[int, Manifest]) -> None:
        """Once a chain is signed it stays so; with --key, each manifest is signed by it, or a later one that is vouches."""
        first: int | None = None  # signed at all, by any key
        vouched = 0  # up to here a signed manifest holds the digests
        trusted = False
        for number in sorted(chain):
            manifest = chain[number]
            key = manifest.fields["key"] if manifest.fields else None
            if key is None:
                if manifest.fields and first is not None:
                    self.find(f"{name}: manifest {number} is not signed, though manifest {first} before it is")
                continue
            first = first or number
            if not self.signature(name, manifest, key):
                continue
            if key in self.keys:
                vouched, trusted = number, True
            elif trusted:
                self.find(f"{name}: manifest {number} is signed by another key than those given")
        for number in sorted(chain):
            if self.keys and number > vouched:
                self.find(f"{name}: manifest {number} is not signed by a key that was given, nor is one after it")

    def signature(self, name: str, manifest: Manifest, key: str) -> bool:
        """Whether a manifest has the signature of the key it names, as far as that can be told."""
        file = f"{manifest.home}{manifest.number:08d}.sig"
        self.known[manifest.folder].add(file)
        try:
            text = read(manifest.folder / file).decode("ascii", "replace")
        except Unreadable as error:
            self.find(f"{name}: the signature of manifest {manifest.number} {error}")
            return False
        if self.is_signed is not None and not self.is_signed(manifest.body, text, key):
            self.find(f"{name}: the signature of manifest {manifest.number} is not valid")
            manifest.fields, self.complete = None, False
            return False
        return True

    def delivery(self, name: str, manifest: Manifest, in_force: bool) -> None:
        """The listings of one manifest and, if it is in force, each object in them."""
        says = manifest.fields or {}
        listed = 0
        for index, listing in enumerate(says["listings"]):
            file = f"{manifest.home}{manifest.number:08d}-{index:05d}.ndjson.gz"
            for line in self.listing(name, manifest, file, listing):
                listed += line["events"]
                if in_force:
                    self.object(manifest, line)
        if listed != says["events"] and self.complete:
            self.find(f"{name}: manifest {manifest.number} counts {says['events']} events, its listings {listed}")
        for index, listing in enumerate(says.get("superseded", [])):
            file = f"{manifest.home}{manifest.number:08d}-superseded-{index:05d}.ndjson.gz"
            for line in self.listing(name, manifest, file, listing):
                if in_force:
                    self.replaced.append((manifest, line))
        if in_force:
            self.events += says["events"]
            for what in MISSING:
                self.missing[what] += says.get(what, 0)

    def listing(self, name: str, manifest: Manifest, file: str, listing: dict[str, Any]) -> list[dict[str, Any]]:
        """The lines of one listing; none if they are not those that the manifest holds the digest of."""
        self.known[manifest.folder].add(file)
        digest = hashlib.sha256()
        lines = []
        try:
            for raw in lines_of(manifest.folder / file):
                digest.update(raw)
                lines.append(line_in(raw))
                if len(lines) > min(listing["parts"], LISTING_LINES):  # a small file may unpack to more than memory
                    raise Unreadable("was altered")
            if digest.hexdigest() != listing["sha256"] or len(lines) != listing["parts"]:
                raise Unreadable("was altered")
        except Unreadable as error:
            self.find(f"{name}: listing {file} {error}")
            self.complete = False
            return []
        return lines

    def object(self, manifest: Manifest, line: dict[str, Any]) -> None:
        """One object: is it there, as it was delivered?"""
        try:
            name = place_of(line["name"], manifest.fields["prefix"] if manifest.fields else "")
            if name not in self.files[manifest.folder]:
                raise Unreadable("is missing")
            self.known[manifest.folder].add(name)
            self.objects += 1
            if sha256(manifest.folder / name) != (line["sha256"], line["bytes"]):
                raise Unreadable("was altered")
        except Unreadable as error:
            self.find(f"object {line['name']} {error}")

    def superseded_objects(self, in_force: dict[Path, set[str]]) -> None:
        """What is superseded (by those in force) may be gone. What is there is as one of the lines with its name says: of several
        attempts that were about to put a name, any may have."""
        contents: dict[tuple[Path, str], set[tuple[str, int]]] = {}
        for manifest, line in self.replaced:
            try:
                name = place_of(line["name"], manifest.fields["prefix"] if manifest.fields else "")
            except Unreadable as error:
                self.find(f"object {line['name']} {error}")
                continue
            if name in self.files[manifest.folder] and name not in in_force[manifest.folder]:
                contents.setdefault((manifest.folder, name), set()).add((line["sha256"], line["bytes"]))
        for (folder, name), known in contents.items():
            self.known[folder].add(name)
            self.superseded += 1
            try:
                if sha256(folder / name) not in known:
                    raise Unreadable("was altered")
            except Unreadable as error:
                self.find(f"object {name} {error}")

    def pinned(self) -> None:
        there = {manifest.digest for chain in self.chains.values() for manifest in chain.values()}
        for digest in self.digests:
            if digest not in there:
                self.find(
                    f"no manifest has the digest {digest}: it was removed or altered, or the copy is older than it"
                )
        for name, chain in sorted(self.chains.items()):
            if self.digests and not any(manifest.digest in self.digests for manifest in chain.values()):
                self.find(
                    f"{name}: none of its manifests has a digest that was given: the chain is forged, or name its own"
                )

    def extra(self) -> None:
        """Files that no manifest speaks of. A folder in a folder is judged by its own manifests."""
        if not self.complete:
            self.find(
                "files that no manifest speaks of cannot be told while manifests or listings are missing or altered"
            )
            return
        known = {folder / name for folder in self.folders for name in self.known[folder]}
        for name, path in sorted(
            {folder / name: name for folder in self.folders for name in self.files[folder]}.items()
        ):
            if name not in known and not is_left_by_check(name, path):
                self.find(f"{path} is extra: no manifest speaks of it")


def files_in(folder: Path) -> Iterator[str]:
    """All that is in a folder and is no folder, links and hidden files too."""
    for parent, folders, names in os.walk(folder):
        paths = [Path(parent, name) for name in [*names, *folders]]
        yield from (path.relative_to(folder).as_posix() for path in paths if path.is_symlink() or not path.is_dir())


def regular(path: Path) -> Path:
    """The path, if it is a plain file: no link leads elsewhere, nothing blocks."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {error}") from None
    if not stat.S_ISREG(mode):
        raise Unreadable("is no plain file")
    return path


def read(path: Path, limit: int = 64 << 20) -> bytes:
    try:
        with regular(path).open("rb") as file:
            # room for `limit` bytes would stay a mapping of its own, of which a process may have 65,530
            body = file.read(min(os.fstat(file.fileno()).st_size, limit) + 1)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    if len(body) > limit:
        raise Unreadable("is too large")
    return body


def sha256(path: Path) -> tuple[str, int]:
    """The digest and the size of a file."""
    digest, size = hashlib.sha256(), 0
    try:
        with regular(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    return digest.hexdigest(), size


def lines_of(path: Path) -> Iterator[bytes]:
    """The lines of a listing, one in memory at a time."""
    size = 0
    try:
        with gzip.open(regular(path)) as file:
            while line := file.readline(LINE_BYTES):
                size += len(line)
                if size > LISTING_BYTES:
                    raise Unreadable("is broken: it is longer than any listing")
                yield line
    except (OSError, EOFError, zlib.error):
        raise Unreadable("is broken: it is no gzip") from None


def json_object(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("is no manifest: it is no JSON") from None
    if not isinstance(document, dict):
        raise Unreadable("is no manifest: it is no JSON object")
    return document


def want(document: dict[str, Any], **types: type | tuple[type, ...]) -> None:
    for name, kind in types.items():
        value = document.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise Unreadable(f"is no manifest: `{name}` is missing or of the wrong type")


def manifest_in(body: bytes) -> dict[str, Any]:
    """A manifest's fields, of the types that they must have."""
    none = type(None)
    says = json_object(body)
    if says.get("format") != FORMAT:
        raise Unreadable(f"is no manifest: its format is not {FORMAT}")
    want(says, destination=str, sequence=int, previous=(str, none), window=dict, events=int, key=(str, none),
         prefix=(str, none), listings=list)  # fmt: skip
    want({name: says.get(name, 0) for name in MISSING}, **dict.fromkeys(MISSING, int))
    want(says["window"], start=str, end=str)
    if not isinstance(says.get("superseded", []), list):
        raise Unreadable("is no manifest: `superseded` is of the wrong type")
    for listing in [*says["listings"], *says.get("superseded", [])]:
        if not isinstance(listing, dict):
            raise Unreadable("is no manifest: a listing of it is no JSON object")
        want(listing, parts=int, sha256=str)
    return says


def line_in(raw: bytes) -> dict[str, Any]:
    """A line of a listing."""
    try:
        line = json_object(raw)
        want(line, name=str, bytes=int, sha256=str, events=int)
    except Unreadable:
        raise Unreadable("is broken: a line of it is none") from None
    return line


def is_left_by_check(path: Path, name: str) -> bool:
    """`logstream destinations check` writes `{}`, and may be unable to remove it."""
    return bool(re.fullmatch(CHECK, name)) and path.lstat().st_size == 2 and read(path) == b"{}"


def window_of(manifest: Manifest) -> tuple[str, str]:
    window = (manifest.fields or {})["window"]
    return window["start"], window["end"]


def place_of(key: str, prefix: str | None) -> str:
    """Where an object is in a copy of its prefix: a copy has what comes after the last slash of the prefix."""
    folder = (prefix or "").rpartition("/")
    name = key.removeprefix(folder[0] + folder[1])
    if not key.startswith(prefix or "") or any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise Unreadable("has a name that is no key")
    return name


def signature_check() -> Signed | None:
    """Verifies Ed25519 signatures, if `cryptography` is installed."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None

    def is_signed(document: bytes, signature: str, key: str) -> bool:
        try:
            public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True))
            public.verify(base64.b64decode(signature, validate=True), document)
        except (InvalidSignature, ValueError):
            return False
        return True

    return is_signed


def public_key(text: str) -> str:
    try:
        if len(base64.b64decode(text, validate=True)) == 32:
            return text
    except binascii.Error:
        pass
    raise argparse.ArgumentTypeError("a public key is 32 bytes in base64")


def digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError("a digest is 64 hexadecimal digits")
    return text.lower()


def printable(text: str) -> str:
    """A line of a terminal that says what it says: names are other people's, and may hold the ends of lines, or more."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def counted(number: int, noun: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+", help="a copy of a destination's prefix")
    parser.add_argument("--key", metavar="PUBLIC_KEY", type=public_key, action="append", default=[],
                        help="the public key that manifests must be signed with, in base64")  # fmt: skip
    parser.add_argument("--digest", metavar="SHA256", type=digest, action="append", default=[],
                        help="the digest of a manifest that must be there")  # fmt: skip
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # whatever a terminal can show
        sys.stdout.reconfigure(errors="backslashreplace")
    check = signature_check()
    if options.key and check is None:
        print("error: --key needs the package `cryptography`: pip install cryptography", file=sys.stderr)
        return 2
    for folder in options.folders:
        if not any(folder.glob(f"*{FOLDER}/*/*")):
            within = sorted({str(found.parent.parent.parent) for found in folder.glob(f"*/*{FOLDER}/*/*")})
            remedy = f"give {' '.join(within[:5])}" if within else "give a copy of a destination's prefix, whole"
            print(printable(f"error: {folder} has no {FOLDER}/ with manifests in it; {remedy}"), file=sys.stderr)
            return 2
    verifier = Verifier([folder.resolve() for folder in options.folders], options.key, options.digest, check)
    verifier.run()
    for problem in verifier.problems:
        print(printable(problem))
    for name, chain in sorted(verifier.chains.items()):
        newest = chain[max(chain)]
        key = newest.fields["key"] if newest.fields else None
        signed = f"key {key}" if key else "not signed"
        print(printable(f"{name}: newest manifest {newest.number}, digest {newest.digest}, {signed}"))
    if check is None and any(
        m.fields and m.fields["key"] for chain in verifier.chains.values() for m in chain.values()
    ):
        print("signatures were not verified: that needs the package `cryptography`")
    print(f"{counted(verifier.manifests, 'manifest')}, {counted(verifier.events, 'event')} in "
          f"{counted(verifier.objects, 'object')}"
          f"{f' (superseded and still there: {verifier.superseded:,})' if verifier.superseded else ''}: "
          + "".join(f"{events:,} {what.replace('_', ' ')}, " for what, events in verifier.missing.items() if events)
          + (counted(len(verifier.problems), "problem") if verifier.problems else "no problems"))  # fmt: skip
    return 1 if verifier.problems else 0


if __name__ == "__main__":
    sys.exit(main())
