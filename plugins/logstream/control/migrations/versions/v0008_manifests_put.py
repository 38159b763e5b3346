"""Whether a manifest is where it must be: the end of a chain that never was may be made anew."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the column. Of what an older version made it is not known: it counts as put."""
    comment = "When it was where it must be; before that it may be made anew"
    op.add_column("manifests", sa.Column("put_at", sa.DateTime(timezone=True), comment=comment), schema="logstream")
    op.execute("update logstream.manifests set put_at = sealed_at")
    op.create_index(
        "manifests_not_put",
        "manifests",
        ["destination"],
        schema="logstream",
        postgresql_where=sa.text("put_at is null"),
    )


def downgrade() -> None:
    """Take it away."""
    op.drop_index("manifests_not_put", "manifests", schema="logstream")
    op.drop_column("manifests", "put_at", schema="logstream")
