"""What people did to the streaming itself: who, when, from where."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "audit_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column(
            "happened_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False, comment="Who, as Airflow calls them"),
        sa.Column("source", sa.Text(), nullable=False, comment="From where: an address, or the command line"),
        sa.Column(
            "subject", sa.Text(), nullable=False,
            comment="The destination or connection; empty for the whole deployment",
        ),
        sa.Column("detail", sa.JSON(), nullable=False, comment="Plain data without secrets: control/audit.py"),
        sa.Column("to_stream", sa.Boolean(), nullable=False, comment="It becomes an event of the log store"),
        sa.Column("streamed_at", sa.DateTime(timezone=True)),
        schema="logstream",
        comment="What people did to the streaming itself: control/audit.py",
    )  # fmt: skip
    op.create_index("audit_events_subject", "audit_events", ["subject", "id"], schema="logstream")
    op.create_index(
        "audit_events_to_stream", "audit_events", ["id"], schema="logstream",
        postgresql_where=sa.text("to_stream and streamed_at is null"),
    )  # fmt: skip


def downgrade() -> None:
    """As it was."""
    op.drop_table("audit_events", schema="logstream")
