"""Message templates as files: those that come with Logstream, and those that settings name."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_HOMES = (
    _PACKAGE,
    _PACKAGE.parents[1],
)  # setup.py puts the folder into the installed package; a checkout has it outside
_HOME = next((home for home in _HOMES if (home / "include" / "templates").is_dir()), _PACKAGE)

TEMPLATES = _HOME / "include" / "templates"
"""The folder of the message templates that come with Logstream."""


def shipped_templates() -> dict[str, str]:
    """The message templates that come with Logstream, by name (`datadog`), in the order of the names."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.json"))}


def find_message_file(name: str, beside: Path) -> Path | None:
    """The file that a `message_file` names; `None` if there is none.

    It is looked for in the folder `beside` (that of the settings), in the working folder, and last among the templates
    that come with Logstream, which are `include/templates/NAME.json` or `NAME.json` from wherever one is.
    """
    candidates = (base / name for base in (beside, Path.cwd(), _HOME, TEMPLATES))
    return next((candidate for candidate in candidates if candidate.is_file()), None)
