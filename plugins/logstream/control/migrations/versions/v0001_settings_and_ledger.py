"""Settings and ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "settings_snapshots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the document, to tell equal ones"),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id"),
        schema="logstream",
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="planned | delivered | failed"),
        sa.Column(
            "planned_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "generation", sa.Integer(), server_default="1", nullable=False, comment="How often it was begun afresh"
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["logstream.settings_snapshots.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("window_start", "window_end", "destination"),
        schema="logstream",
    )
    op.create_index(
        "deliveries_state", "deliveries", ["destination", "state", "window_start"], unique=False, schema="logstream"
    )
    op.create_table(
        "lanes",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column(
            "fingerprint",
            sa.Text(),
            nullable=False,
            comment="Of all that decides the lane's bytes; a checkpoint under another is void",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="planned | delivering | delivered | failed"),
        sa.Column("planned", sa.JSON(), nullable=False, comment="{workspace id: {kind: events}}"),
        sa.Column("planned_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "now_ns",
            sa.BigInteger(),
            nullable=True,
            comment="The instant of the template's now placeholders, ns since 1970",
        ),
        sa.Column(
            "position_us",
            sa.BigInteger(),
            nullable=True,
            comment="recorded_at of the last delivered event, microseconds since 2000",
        ),
        sa.Column("position_id", sa.BigInteger(), nullable=True, comment="id of the last delivered event"),
        sa.Column(
            "part",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="Parcels (requests or objects) delivered so far",
        ),
        sa.Column("delivered", sa.JSON(), server_default="{}", nullable=False, comment="As planned"),
        sa.Column("rejected", sa.JSON(), server_default="{}", nullable=False, comment="As planned"),
        sa.Column(
            "sizes", sa.JSON(), server_default="{}", nullable=False, comment="{workspace id: bytes of its messages}"
        ),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False, comment="Sent, after compression"),
        sa.Column(
            "requests",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="Requests or objects, repeated ones too",
        ),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_error", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "permanent", sa.Integer(), server_default="0", nullable=False, comment="1 if trying again will not help"
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["delivery_id"], ["logstream.deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", "lane"),
        schema="logstream",
    )
    op.create_table(
        "rejections",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("workspace_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "rejected_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["delivery_id"], ["logstream.deliveries.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("delivery_id", "event_id"),
        schema="logstream",
    )
    # there are settings from the start: nobody streams anything. The digest is that of `{}`.
    op.execute("insert into logstream.settings_snapshots (digest, document) values (encode(sha256('{}'), 'hex'), '{}')")


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("rejections", schema="logstream")
    op.drop_table("lanes", schema="logstream")
    op.drop_index("deliveries_state", table_name="deliveries", schema="logstream")
    op.drop_table("deliveries", schema="logstream")
    op.drop_table("settings_snapshots", schema="logstream")
