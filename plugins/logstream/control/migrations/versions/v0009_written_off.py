"""What is written off beside what was purged; why deliveries are not complete; what was pruned of those that began afresh."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Tell losses apart by their reason."""
    op.add_column(
        "losses",
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            server_default="purged",
            comment="purged | written off: ledger/losses.py",
        ),
        schema="logstream",
    )
    op.add_column("losses", sa.Column("note", sa.Text(), comment="Why it was written off"), schema="logstream")
    op.drop_constraint("losses_pkey", "losses", schema="logstream")
    op.create_primary_key(
        "losses_pkey", "losses", ["delivery_id", "workspace_id", "kind", "reason"], schema="logstream"
    )
    op.create_table_comment(
        "losses", "Planned events that their destination will never get: ledger/losses.py", schema="logstream"
    )
    op.add_column(
        "deliveries",
        sa.Column("error", sa.Text(), comment="Why it was not sealed as delivered; lanes have reasons of their own"),
        schema="logstream",
    )
    op.add_column(
        "deliveries",
        sa.Column(
            "forgotten", sa.BigInteger(), comment="The manifest that lists what was pruned before it began afresh"
        ),
        schema="logstream",
    )


def downgrade() -> None:
    """As it was; what was written off is forgotten."""
    op.drop_column("deliveries", "forgotten", schema="logstream")
    op.drop_column("deliveries", "error", schema="logstream")
    op.execute("delete from logstream.losses where reason <> 'purged'")
    op.drop_constraint("losses_pkey", "losses", schema="logstream")
    op.create_primary_key("losses_pkey", "losses", ["delivery_id", "workspace_id", "kind"], schema="logstream")
    op.drop_column("losses", "note", schema="logstream")
    op.drop_column("losses", "reason", schema="logstream")
    op.create_table_comment(
        "losses",
        "Planned events that the log store no longer held when they were to be delivered: ledger/losses.py",
        schema="logstream",
    )
