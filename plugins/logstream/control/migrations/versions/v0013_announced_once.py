"""What is announced again is found by its entries."""

from alembic import op
from sqlalchemy import TextClause, text

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the index."""
    columns: list[str | TextClause] = ["delivery_id", text("md5(entries)")]
    op.create_index("superseded_parts_entries", "superseded_parts", columns, schema="logstream")


def downgrade() -> None:
    """Take it away."""
    op.drop_index("superseded_parts_entries", "superseded_parts", schema="logstream")
