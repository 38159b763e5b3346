"""Alembic's environment: it migrates over the connection that `open_control` hands it."""

from __future__ import annotations

from alembic import context

from logstream.control.tables import SCHEMA, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
)
context.run_migrations()
