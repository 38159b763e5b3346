"""Cheap checkpoints, parts, manifests, and how destinations are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add what is new."""
    op.add_column(
        "settings_snapshots",
        sa.Column(
            "derived",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Made for what is owed; never in force",
        ),
        schema="logstream",
    )
    op.add_column(
        "lanes",
        sa.Column(
            "counted_us",
            sa.BigInteger(),
            comment="As position_us: what the counts below take in; never after the position",
        ),
        schema="logstream",
    )
    op.add_column(
        "deliveries",
        sa.Column("pruned_at", sa.DateTime(timezone=True), comment="When its parts were forgotten"),
        schema="logstream",
    )
    op.add_column("lanes", sa.Column("counted_id", sa.BigInteger(), comment="As position_id"), schema="logstream")
    op.execute("update logstream.lanes set counted_us = position_us, counted_id = position_id")
    op.add_column(
        "rejections",
        sa.Column("request", sa.Text(), comment="The request or object that the event was in"),
        schema="logstream",
    )
    op.add_column(
        "rejections",
        sa.Column("redelivered_at", sa.DateTime(timezone=True), comment="When it was delivered after all, on demand"),
        schema="logstream",
    )
    op.create_table(
        "lane_parts",
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column(
            "parcels", sa.Integer(), nullable=False, comment="Parcels of the lane delivered when this was written"
        ),
        sa.Column(
            "entries",
            sa.LargeBinary(),
            nullable=False,
            comment="Objects or requests, NDJSON in zstd: proof/listings.py",
        ),
        sa.ForeignKeyConstraint(
            ["delivery_id", "lane"], ["logstream.lanes.delivery_id", "logstream.lanes.lane"], ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "lane", "parcels"),
        schema="logstream",
    )
    op.create_table(
        "manifests",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="Its place in the destination's chain, from 1"),
        sa.Column("delivery_id", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.Text(), nullable=False, comment="The manifest, byte for byte what its digest is of"),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the document"),
        sa.Column("signature", sa.Text(), comment="Ed25519, base64"),
        sa.Column("sealed_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("destination", "sequence"),
        schema="logstream",
    )
    op.create_index("manifests_window", "manifests", ["window_start", "window_end"], schema="logstream")
    op.create_table(
        "destinations",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False, comment="Windows that failed in a row"),
        sa.Column(
            "last_window", sa.DateTime(timezone=True), comment="End of the last window that was counted as failed"
        ),
        sa.Column("suspended_at", sa.DateTime(timezone=True)),
        sa.Column("error", sa.Text(), comment="Why the last of them failed"),
        sa.PrimaryKeyConstraint("name"),
        schema="logstream",
    )
    op.create_table(
        "open_windows",
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("watch", sa.JSON(), nullable=False, comment="The writers that may still add to it: store/closing.py"),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("window_start", "window_end"),
        schema="logstream",
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("open_windows", schema="logstream")
    op.drop_table("destinations", schema="logstream")
    op.drop_table("manifests", schema="logstream")
    op.drop_table("lane_parts", schema="logstream")
    op.drop_column("rejections", "redelivered_at", schema="logstream")
    op.drop_column("rejections", "request", schema="logstream")
    op.drop_column("lanes", "counted_id", schema="logstream")
    op.drop_column("lanes", "counted_us", schema="logstream")
    op.drop_column("deliveries", "pruned_at", schema="logstream")
    op.drop_column("settings_snapshots", "derived", schema="logstream")
