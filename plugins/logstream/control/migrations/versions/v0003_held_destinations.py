"""What the console shows: destinations suspended by hand, sums beside the counts, the newest and the open deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add what is new."""
    op.add_column(
        "destinations",
        sa.Column(
            "held",
            sa.Boolean(),
            server_default=sa.false(),
            nullable=False,
            comment="Suspended by somebody: not even probed until somebody resumes it",
        ),
        schema="logstream",
    )
    for name in ("planned", "delivered", "rejected"):
        op.add_column(
            "lanes",
            sa.Column(
                f"{name}_events", sa.BigInteger(), server_default="0", nullable=False, comment=f"The sum of {name}"
            ),
            schema="logstream",
        )
        op.execute(
            f"update logstream.lanes set {name}_events = coalesce((select sum(k.value::bigint)"  # noqa: S608
            f" from json_each({name}) w, json_each_text(w.value) k), 0)"
        )
    op.create_index(
        "deliveries_open",
        "deliveries",
        ["destination", "window_start"],
        schema="logstream",
        postgresql_where=sa.text("state <> 'delivered'"),
    )
    op.create_index("deliveries_window", "deliveries", ["window_start", "id"], schema="logstream")


def downgrade() -> None:
    """Take it away."""
    op.drop_index("deliveries_window", "deliveries", schema="logstream")
    op.drop_index("deliveries_open", "deliveries", schema="logstream")
    for name in ("planned", "delivered", "rejected"):
        op.drop_column("lanes", f"{name}_events", schema="logstream")
    op.drop_column("destinations", "held", schema="logstream")
