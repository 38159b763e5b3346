"""Dead letters that a person discards, and those that are left are found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

OPEN = "redelivered_at is null and discarded_at is null"


def upgrade() -> None:
    """Add the columns and the index."""
    for name, kind, comment in (
        ("discarded_at", sa.DateTime(timezone=True), "When a person decided that it is not to be delivered"),
        ("discarded_by", sa.Text(), None),
        ("note", sa.Text(), "Why it was discarded"),
    ):
        op.add_column("rejections", sa.Column(name, kind, comment=comment), schema="logstream")
    op.create_index(
        "rejections_open", "rejections", ["delivery_id"], schema="logstream", postgresql_where=sa.text(OPEN)
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_index("rejections_open", "rejections", schema="logstream")
    for name in ("note", "discarded_by", "discarded_at"):
        op.drop_column("rejections", name, schema="logstream")
