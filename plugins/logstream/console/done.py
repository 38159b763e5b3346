"""What a page says was done, after it sent the browser on: only texts of ours, chosen by a word in the address."""

from __future__ import annotations

import re

from logstream.settings.models import DESTINATION_NAME

DONE = {
    "held": "{name} is held: it gets nothing until it is resumed, and is owed what it would have got.",
    "resumed": "{name} is back in service: the next run delivers what it is owed, oldest first.",
    "deleted": "{name} is deleted.",
    "owed": "A run delivers what is owed to {name}.",
    "window": "A run delivers the window to {name} again.",
    "noted": "Noted: what was lost and shown here is acknowledged.",
    "again": "A run sends them again, by the settings in force.",
    "some": "A run sends those that you have ticked again, by the settings in force.",
    "discarded": "Discarded: they are neither listed nor sent again any more. The ledger keeps them, with your note.",
}

_RUN = re.compile(r"dags/logstream_[a-z_]+/runs/[A-Za-z0-9_%:.+~-]+\Z")


def done_text(word: str, name: str) -> str:
    """The text for a word, about a destination; nothing for any other word or name."""
    text = DONE.get(word, "")
    if "{name}" in text and not re.fullmatch(DESTINATION_NAME, name):
        return ""
    return text.format(name=name)


def run_path(run: str) -> str:
    """The path of a run that a page was told to link to; nothing else is linked to."""
    return run if _RUN.match(run) and "/../" not in run else ""
