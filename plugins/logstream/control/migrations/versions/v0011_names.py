"""Lanes keep the names of their workspaces."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Lanes that are under way get theirs from the log store, when they are delivered next."""
    op.add_column(
        "lanes",
        sa.Column("names", sa.JSON(), comment="{workspace id: [external id, name]} at its first attempt, where wanted"),
        schema="logstream",
    )


def downgrade() -> None:
    """As it was: names are the log store's of the moment."""
    op.drop_column("lanes", "names", schema="logstream")
