"""What was sent after the last count is known by its names, not by its place alone."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column. Lanes that an older version left have none: they go on from what is counted."""
    comment = "Digest of the names of the requests that were sent after counted_*, up to the position"
    op.add_column("lanes", sa.Column("trail", sa.BigInteger(), comment=comment), schema="logstream")


def downgrade() -> None:
    """Take it away."""
    op.drop_column("lanes", "trail", schema="logstream")
