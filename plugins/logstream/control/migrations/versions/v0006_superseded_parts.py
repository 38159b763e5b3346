"""Superseded parts: what earlier attempts and exports of a delivery made, kept when a plan begins its lanes anew."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "superseded_parts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False, comment="As those of lane_parts"),
        sa.ForeignKeyConstraint(["delivery_id"], ["logstream.deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        schema="logstream",
        comment="What was delivered under plans that a newer one has replaced: proof/manifests.py",
    )
    op.create_index("superseded_parts_delivery", "superseded_parts", ["delivery_id", "id"], schema="logstream")


def downgrade() -> None:
    """Take it away."""
    op.drop_table("superseded_parts", schema="logstream")
