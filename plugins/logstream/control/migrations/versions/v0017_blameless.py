"""A lane that was stopped by no fault of its destination says so: it does not count against that."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column. What an older version writes counts as the destination's."""
    comment = "What stopped it last was no fault of its destination: the log store or the ledger was away, say"
    op.add_column(
        "lanes",
        sa.Column("blameless", sa.Boolean(), nullable=False, server_default=sa.false(), comment=comment),
        schema="logstream",
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_column("lanes", "blameless", schema="logstream")
