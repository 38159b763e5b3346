#!/usr/bin/env python3
"""Verify what Logstream delivered with nothing but its manifests: no Logstream, no database, Python's standard library.

    verify_manifests.py FOLDER [--key PUBLIC_KEY]

FOLDER is a copy of a destination's prefix (`aws s3 sync s3://audit/logs/ FOLDER`), with its `_manifests/`. Checked are the
chain of manifests, their listings, and each object's size and SHA-256; objects that no manifest speaks of are named. With
--key (32 bytes in base64) signatures are checked, too, which needs the package `cryptography`. Ends with 0 if all is well,
with 1 if not. The format is described in docs/manifests.md.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import sys
import zlib
from pathlib import Path

PREFIX = "_manifests"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Verifier:
    def __init__(self, folder: Path, key: str | None) -> None:
        self.folder, self.key = folder, key
        self.problems: list[str] = []
        self.known: set[str] = set()
        self.manifests = self.events = self.objects = 0

    def find(self, problem: str) -> None:
        self.problems.append(problem)
        print(problem)

    def run(self) -> None:
        chains = sorted(path for path in (self.folder / PREFIX).iterdir() if path.is_dir())
        for chain in chains:
            self.chain(chain)
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and PREFIX not in path.parts and name not in self.known:
                self.find(f"{name} is extra: no manifest speaks of it")

    def chain(self, chain: Path) -> None:
        """Sequence numbers without a gap, each manifest holding the digest of the one before; newer ones replace older."""
        paths = {int(path.stem): path for path in chain.glob("*.json")}
        newest: dict[tuple[str, str], tuple[int, dict]] = {}
        previous = None
        for number in range(1, max(paths, default=0) + 1):
            if number not in paths:
                self.find(f"{chain.name}: manifest {number} is missing")
                previous = None
                continue
            body = paths[number].read_bytes()
            manifest = json.loads(body)
            if manifest["sequence"] != number:
                self.find(f"{chain.name}: manifest {number} says it is {manifest['sequence']}")
            if manifest["previous"] != previous and (previous is not None or number == 1):
                self.find(f"{chain.name}: manifest {number} does not hold the digest of manifest {number - 1}")
            if self.key or manifest["key"]:
                self.signature(chain, number, body, manifest["key"])
            previous = hashlib.sha256(body).hexdigest()
            newest[(manifest["window"]["start"], manifest["window"]["end"])] = (number, manifest)
            self.manifests += 1
        for number, manifest in newest.values():
            self.delivery(chain, number, manifest)

    def signature(self, chain: Path, number: int, body: bytes, named: str | None) -> None:
        if not self.key:
            return
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            signature = base64.b64decode((chain / f"{number:08d}.sig").read_bytes())
            Ed25519PublicKey.from_public_bytes(base64.b64decode(self.key)).verify(signature, body)
        except (OSError, ValueError, InvalidSignature):
            self.find(f"{chain.name}: manifest {number} is not signed by this key (it names {named})")

    def delivery(self, chain: Path, number: int, manifest: dict) -> None:
        """One delivery: its listings, and each object in them."""
        listed = 0
        for index, listing in enumerate(manifest["listings"]):
            path = chain / f"{number:08d}-{index:05d}.ndjson.gz"
            try:
                lines = gzip.decompress(path.read_bytes())
            except (OSError, EOFError, zlib.error):
                self.find(f"{chain.name}: listing {path.name} is missing or broken")
                continue
            if hashlib.sha256(lines).hexdigest() != listing["sha256"]:
                self.find(f"{chain.name}: listing {path.name} was altered")
            for line in lines.splitlines():
                part = json.loads(line)
                listed += part["events"]
                self.object(part)
        if listed != manifest["events"]:
            self.find(f"{chain.name}: manifest {number} counts {manifest['events']} events, its listings {listed}")
        self.events += manifest["events"]

    def object(self, part: dict) -> None:
        # names are keys in the bucket; a copy of a prefix has what comes after it
        name = next((name for name in tails(part["name"]) if (self.folder / name).is_file()), None)
        if name is None:
            self.find(f"{part['name']} is missing")
            return
        self.known.add(name)
        self.objects += 1
        path = self.folder / name
        if path.stat().st_size != part["bytes"] or sha256(path) != part["sha256"]:
            self.find(f"{name} was altered")


def tails(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[index:]) for index in range(len(parts))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--key", help="the public key that manifests must be signed with, in base64")
    options = parser.parse_args()
    if not (options.folder / PREFIX).is_dir():
        print(f"error: {options.folder} has no {PREFIX}/", file=sys.stderr)
        return 2
    verifier = Verifier(options.folder, options.key)
    verifier.run()
    print(f"{verifier.manifests} manifests, {verifier.events:,} events in {verifier.objects:,} objects: "
          f"{len(verifier.problems) or 'no'} problems")  # fmt: skip
    return 1 if verifier.problems else 0


if __name__ == "__main__":
    sys.exit(main())
