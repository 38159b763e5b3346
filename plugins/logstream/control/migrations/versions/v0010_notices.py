"""What people were told last of each destination, what they are to be told, and how daily checks ended."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the tables."""
    op.create_table(
        "noticed",
        sa.Column("subject", sa.Text(), primary_key=True, comment="A destination; empty for the whole deployment"),
        sa.Column("told", sa.JSON(), nullable=False, comment="What was told of it last: ledger/news.py"),
        schema="logstream",
        comment="What people were told last: ledger/notices.py",
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("receiver", sa.Text(), nullable=False, comment="The key of who is told: ledger/audiences.py"),
        sa.Column("document", sa.JSON(), nullable=False, comment="topic, text, headline, detail, destination"),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")),
        sa.Column("taken_until", sa.DateTime(timezone=True), comment="A task tells it now, until then at the longest"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("told_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text(), comment="Why the last attempt failed: no text of a receiver"),
        schema="logstream",
        comment="What is to be told, once to each receiver: ledger/notices.py",
    )
    op.create_index(
        "notices_untold",
        "notices",
        ["receiver", "id"],
        schema="logstream",
        postgresql_where=sa.text("told_at is null"),
    )
    op.create_table(
        "checks",
        sa.Column("destination", sa.Text(), primary_key=True),
        sa.Column(
            "checked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.Column("error", sa.Text(), comment="The first step that failed; null if none did"),
        schema="logstream",
        comment="How the last daily check of each destination ended",
    )


def downgrade() -> None:
    """As it was."""
    op.drop_table("checks", schema="logstream")
    op.drop_table("notices", schema="logstream")
    op.drop_table("noticed", schema="logstream")
