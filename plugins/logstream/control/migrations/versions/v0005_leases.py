"""Leases on lanes, in place of advisory locks: an owner, an attempt that fences, and when it runs out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateSequence, DropSequence

revision = "0005"
down_revision = "0004"

ATTEMPTS = sa.Sequence("lane_attempts", schema="logstream", data_type=sa.BigInteger())


def upgrade() -> None:
    """Add the columns, and the sequence that numbers attempts: no two leases of any lane have one number."""
    op.execute(CreateSequence(ATTEMPTS))
    op.add_column(
        "lanes",
        sa.Column(
            "attempt",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="The fencing token of the newest lease, from lane_attempts: a write that names another changes nothing",
        ),
        schema="logstream",
    )
    op.add_column(
        "lanes",
        sa.Column("leased_by", sa.Text(), comment="The task that delivers it now: ledger/leases.py"),
        schema="logstream",
    )
    op.add_column(
        "lanes",
        sa.Column("leased_until", sa.DateTime(timezone=True), comment="When its lease runs out if it is not renewed"),
        schema="logstream",
    )


def downgrade() -> None:
    """Take them away."""
    for name in ("leased_until", "leased_by", "attempt"):
        op.drop_column("lanes", name, schema="logstream")
    op.execute(DropSequence(ATTEMPTS))
