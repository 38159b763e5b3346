"""Losses: events that were planned and that the log store no longer holds; which run carries a delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "losses",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True)),
        sa.Column("acknowledged_by", sa.Text()),
        sa.ForeignKeyConstraint(["delivery_id"], ["logstream.deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", "workspace_id", "kind"),
        schema="logstream",
        comment="Planned events that the log store no longer held when they were to be delivered: ledger/losses.py",
    )
    op.add_column(
        "deliveries", sa.Column("carrier", sa.Text(), comment="The run that planned it last"), schema="logstream"
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_column("deliveries", "carrier", schema="logstream")
    op.drop_table("losses", schema="logstream")
