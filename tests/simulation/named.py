"""What an object store's own manifests name, by docs/manifests.md: the objects in force, and those that are superseded."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping

MANIFEST = re.compile(r"_manifests/[^/]+/(\d{8})\.json")


def superseded_in(objects: Mapping[str, bytes]) -> set[str]:
    """Keys that the newest manifest of a window names as superseded, and that no manifest in force lists."""
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for key, body in objects.items():
        if found := MANIFEST.fullmatch(key):
            window = json.loads(body)["window"]
            place = window["start"], window["end"]
            newest[place] = max(newest.get(place, (0, "")), (int(found[1]), key.removesuffix(".json")))
    in_force, superseded = set[str](), set[str]()
    for _, manifest in newest.values():
        for key, body in objects.items():
            if key.startswith(f"{manifest}-") and key.endswith(".ndjson.gz"):
                names = {json.loads(line)["name"] for line in gzip.decompress(body).splitlines()}
                (superseded if "-superseded-" in key else in_force).update(names)
    return superseded - in_force
