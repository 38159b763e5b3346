"""Coverage: the windows that time is exported in, which cannot overlap, and what the schedule demands."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ExcludeConstraint

revision = "0004"
down_revision = "0003"

# The windows that the ledger knows, in the order in which they were planned first. Where two overlap, the one planned first
# keeps its bounds; of the other one the time that is left over becomes windows: it was exported, and is no gap.
FILL = """
do $$
declare
    known record;
    piece tstzrange;
begin
    for known in
        select window_start, window_end, min(planned_at) as planned_at,
               (array_agg(snapshot_id order by planned_at))[1] as snapshot_id
        from logstream.deliveries group by window_start, window_end order by 3, 1, 2
    loop
        for piece in
            select unnest(
                tstzmultirange(tstzrange(known.window_start, known.window_end))
                - coalesce(
                    (select range_agg(tstzrange(w.window_start, w.window_end)) from logstream.windows w
                     where tstzrange(w.window_start, w.window_end, '[)') && tstzrange(known.window_start, known.window_end)),
                    '{}'))
        loop
            insert into logstream.windows (window_start, window_end, whole, snapshot_id, asked_by, planned_at)
            values (lower(piece), upper(piece), true, known.snapshot_id, 'schedule', known.planned_at);
        end loop;
    end loop;
end $$
"""

# Windows that were exported although writers might still add to them: what was added since is owed. The next scheduled run
# waits until those writers have ended, plans such a window anew, and sends the lanes to which something was added.
LATE = """
update logstream.deliveries d set state = 'owed' from logstream.open_windows o
where d.window_start = o.window_start and d.window_end = o.window_end and d.state = 'delivered'
"""


def upgrade() -> None:
    """Make the tables, and take over the windows that deliveries have."""
    op.create_table(
        "windows",
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "whole", sa.Boolean(), nullable=False, comment="False while it was exported to some destinations only"
        ),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False, comment="By which it was planned last"),
        sa.Column("asked_by", sa.Text(), nullable=False, comment="schedule | request"),
        sa.Column("carrier", sa.Text(), comment="The run that made it"),
        sa.Column(
            "planned_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("window_start < window_end", name="windows_bounds"),
        sa.ForeignKeyConstraint(["snapshot_id"], ["logstream.settings_snapshots.id"]),
        sa.PrimaryKeyConstraint("window_start"),
        ExcludeConstraint(
            (sa.text("tstzrange(window_start, window_end, '[)')"), "&&"), name="windows_disjoint", using="gist"
        ),
        schema="logstream",
        comment="Time that is exported: ledger/coverage.py. Rows are never deleted and keep their bounds",
    )
    op.create_index("windows_carrier", "windows", ["carrier"], schema="logstream")
    op.create_table(
        "schedule",
        sa.Column("one", sa.Boolean(), server_default=sa.true(), nullable=False, comment="There is one row, or none"),
        sa.Column("interval_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("interval_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_end", sa.DateTime(timezone=True), nullable=False, comment="End of the interval after it"),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("one", name="schedule_one_row"),
        sa.PrimaryKeyConstraint("one"),
        schema="logstream",
        comment="The newest interval of the schedule; no row where there is no schedule",
    )
    op.execute(FILL)
    op.execute(LATE)
    op.drop_table("open_windows", schema="logstream")


def downgrade() -> None:
    """Take it away."""
    op.create_table(
        "open_windows",
        sa.Column("window_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("watch", sa.JSON(), nullable=False, comment="The writers that may still add to it: store/closing.py"),
        sa.Column("noted_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("window_start", "window_end"),
        schema="logstream",
    )
    op.drop_table("schedule", schema="logstream")
    op.drop_table("windows", schema="logstream")
