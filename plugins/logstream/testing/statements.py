"""SQL that is compiled once a process, and not once for each engine.

A task, a command and a page's server open one engine in their lives. Tests open one for nearly each export, and to compile the
same statements for each of them took a fifth of an export's processor time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.util import LRUCache

from logstream.control import engine as control

_COMPILED: LRUCache[Any, Any] = LRUCache(2_000)


class _Alike(PGDialect_psycopg):
    """As good as another engine's, where both speak with a server of the same version: what is compiled is found by it."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Alike) and self._known() == other._known()

    def __hash__(self) -> int:
        return hash(_Alike)

    def _known(self) -> tuple[object, ...]:
        """What it was told by the server: that alone may make two engines compile differently."""
        return getattr(self, "server_version_info", None), self._backslash_escapes, self.default_schema_name


def share_statements() -> None:
    """Let the engines over control databases that this process opens from now on share what they compile."""
    control.create_engine = _sharing  # type: ignore[attr-defined]


def _sharing(*arguments: Any, **options: Any) -> Engine:
    made = create_engine(*arguments, **options)
    made.dialect.__class__ = _Alike
    made._compiled_cache = _COMPILED
    return made
