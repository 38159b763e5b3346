"""What administrators save in a world: settings, and changes of them. And how likely all that may happen is."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields

from tests.simulation.script import HOOK_BYTES, LEVELS, Apply, Document, Happening, keeps_objects

MESSAGE = '{"source": "w", "event": {{{log_message}}}}'
"""The template that some settings have."""


@dataclass(slots=True)
class Rates:
    """How likely each fault is, for each window of a world. A world turns some up and others off."""

    kill: float = 0.3
    taken: float = 0.1
    sleep: float = 0.15
    cut: float = 0.1
    double: float = 0.1
    weather: float = 0.5
    outage: float = 0.15
    stall: float = 0.02
    forget: float = 0.05
    settings: float = 0.3
    options: float = 0.2
    renamed: float = 0.05
    again: float = 0.2
    begun: float = 0.1
    skipped: float = 0.1
    schedule: float = 0.1
    late: float = 0.1
    meanwhile: float = 0.1
    history: float = 0.1
    hung: float = 0.1
    poison: float = 0.03
    enormous: float = 0.01
    purge: float = 0.08
    listed: float = 0.1
    redeliver: float = 0.1
    write_off: float = 0.03
    suspend: float = 0.05
    prune: float = 0.1
    step: float = 0.1

    def turned(self, chance: random.Random) -> Rates:
        """Each rate as it is, off, or three times as high."""
        factors = {item.name: chance.choice((0, 0, 1, 1, 1, 3)) for item in fields(self)}
        return Rates(**{name: min(0.9, getattr(self, name) * factor) for name, factor in factors.items()})


class Administrators:
    """Writes settings by chance."""

    chance: random.Random
    rates: Rates
    workspaces: tuple[int, ...]
    destinations: list[str]
    gone: list[str]
    document: Document
    _next_id: int

    def happens(self, rate: float) -> bool:
        """Whether something with this rate happens."""
        return self.chance.random() < rate

    def administrators(self) -> Iterator[Happening]:
        """What administrators save."""
        for rate, change in (
            (self.rates.settings, self.changed), (self.rates.options, self.other_options), (self.rates.renamed, self.renamed)
        ):  # fmt: skip
            if self.happens(rate):
                self.document = deepcopy(self.document)
                what = change(self.document)
                yield Apply(self.document, what)

    def streaming(self, destination: str) -> Document:
        """One setting."""
        events = self.chance.choice(
            (["job_details", "user_activity", "api_platform", "log_service", "genie"],) * 3
            + (
                ["job_status", "user_activity"],
                ["log_service"],
                ["job_status", "api_platform", "log_service"],
                ["genie"],
            )
        )
        found: Document = {"enabled": not self.happens(0.1), "events": events, "destination": destination}
        if "log_service" in events and self.happens(0.4):
            found["log_levels"] = self.chance.sample(LEVELS, 2)
        if self.happens(0.3):
            found["mask"] = ["$.secret"]
        if self.happens(0.3):
            found["message"] = MESSAGE
        return found

    def options(self, name: str) -> Document:
        """The options of a destination. The first part of its name tells what it is."""
        lanes = self.chance.randint(1, 3)
        common: Document = {"connection": name, "lanes": lanes}
        match name.partition("-")[0]:
            case "lake":
                packing = self.chance.choice(("none", "gzip"))
                packaging = self.chance.choice(("batch", "batch", "parquet"))
                return {**common, "type": "s3", "bucket": name, "packaging": packaging, "compression": packing}
            case "bucket":
                packaging = self.chance.choice(("file", "file", "file", "batch"))
                return {**common, "type": "s3", "bucket": name, "packaging": packaging}
            case "hook":
                packing = self.chance.choice(("none", "none", "gzip"))
                return {**common, "type": "http", "format": "lines", "max_events": self.chance.choice((1, 5, 10)),
                        "max_bytes": HOOK_BYTES, "concurrency": self.chance.choice((1, 2, 4)), "compression": packing}  # fmt: skip
            case _:
                return {**common, "type": "splunk_hec"}

    def settings(self) -> Document:
        """Settings: for most workspaces one of their own, for all the admin's now and then."""
        document: Document = {
            "destinations": {name: self.options(name) for name in self.destinations},
            "workspaces": [
                {"id": number, "streaming": self.streaming(self.chance.choice(self.destinations))}
                for number in self.workspaces
                if not self.happens(0.1)
            ],
        }
        streams = any(item["streaming"]["enabled"] for item in document["workspaces"])
        if self.happens(0.2) or not streams:  # streaming begins with the world
            document["admin"] = self.streaming(self.chance.choice(self.destinations)) | {"enabled": True}
        return document

    def changed(self, document: Document) -> str:
        """Change settings in one point, and say which."""
        what = self.chance.choice(("override", "override", "own", "own", "gone"))
        if what == "override":
            if document.pop("admin", None) is not None:
                return "the override is switched off"
            document["admin"] = self.streaming(self.chance.choice(self.destinations)) | {"enabled": True}
            return f"the override is switched on, to {document['admin']['destination']}"
        if what == "own" or not document["workspaces"]:
            number = self.chance.choice(self.workspaces)
            rest = [item for item in document["workspaces"] if item["id"] != number]
            new = {"id": number, "streaming": self.streaming(self.chance.choice(self.destinations))}
            document["workspaces"] = [*rest, new]
            return f"workspace {number} now streams to {new['streaming']['destination']}"
        gone = document["workspaces"].pop(self.chance.randrange(len(document["workspaces"])))
        return f"workspace {gone['id']} streams nothing any more"

    def other_options(self, document: Document) -> str:
        """Give a destination other options."""
        return self._other_options(document, self.destinations)

    def other_objects(self, document: Document) -> str:
        """Give an object store, if there is one, other options: its objects have other names by them, as a rule."""
        return self._other_options(document, [name for name in self.destinations if keeps_objects(name)])

    def _other_options(self, document: Document, names: Sequence[str]) -> str:
        name = self.chance.choice(names or self.destinations)
        document["destinations"][name] = self.options(name)
        return f"{name} has other options: {document['destinations'][name]}"

    def other_message(self, document: Document) -> str:
        """Give all that streams another message."""
        settings = [item["streaming"] for item in document["workspaces"]]
        for streaming in [*settings, *filter(None, [document.get("admin")])]:
            if streaming.pop("message", None) is None:
                streaming["message"] = MESSAGE
        return "what was wrapped is plain, and what was plain is wrapped"

    def renamed(self, document: Document) -> str:
        """Rename a destination, or remove it with all that streams to it."""
        old = self.chance.choice(self.destinations)
        new = f"{old.partition('-')[0]}-{self._next_id}"
        removed = self.happens(0.3) and len(self.destinations) > 1
        document["destinations"].pop(old)
        self.destinations.remove(old)
        self.gone.append(old)
        if not removed:
            document["destinations"][new] = self.options(new)
            self.destinations.append(new)
        own = [item["streaming"] for item in document["workspaces"]]
        for streaming in [*own, *filter(None, [document.get("admin")])]:
            if streaming["destination"] == old:
                if removed:
                    streaming["enabled"] = False
                streaming["destination"] = self.destinations[0] if removed else new
        return f"{old} is removed" if removed else f"{old} is renamed to {new}"
