"""The control schema's tables: settings and ledger. Alembic migrations make them; this is how code names them."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint

SCHEMA = "logstream"
metadata = MetaData(schema=SCHEMA)

snapshots = Table(
    "settings_snapshots",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("digest", Text, nullable=False, comment="SHA-256 of the document, to tell equal ones"),
    Column("document", JSON, nullable=False),
    Column("author", Text),
    Column("derived", Boolean, nullable=False, server_default=false(), comment="Made for what is owed; never in force"),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)

windows = Table(
    "windows",
    metadata,
    Column("window_start", DateTime(timezone=True), primary_key=True),
    Column("window_end", DateTime(timezone=True), nullable=False),
    Column("whole", Boolean, nullable=False, comment="False while it was exported to some destinations only"),
    Column("snapshot_id", ForeignKey(snapshots.c.id), nullable=False, comment="By which it was planned last"),
    Column("asked_by", Text, nullable=False, comment="schedule | request"),
    Column("carrier", Text, comment="The run that made it"),
    Column("planned_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint("window_start < window_end", name="windows_bounds"),
    comment="Time that is exported: ledger/coverage.py. Rows are never deleted and keep their bounds",
)
windows.append_constraint(
    ExcludeConstraint(
        (func.tstzrange(windows.c.window_start, windows.c.window_end, "[)"), "&&"),
        name="windows_disjoint",
        using="gist",
    )
)
Index("windows_carrier", windows.c.carrier)

schedule = Table(
    "schedule",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=true(), comment="There is one row, or none"),
    Column("interval_start", DateTime(timezone=True), nullable=False),
    Column("interval_end", DateTime(timezone=True), nullable=False),
    Column("next_end", DateTime(timezone=True), nullable=False, comment="End of the interval after it"),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    CheckConstraint("one", name="schedule_one_row"),
    comment="The newest interval of the schedule; no row where there is no schedule",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("window_start", DateTime(timezone=True), nullable=False),
    Column("window_end", DateTime(timezone=True), nullable=False),
    Column("destination", Text, nullable=False),
    Column("snapshot_id", ForeignKey(snapshots.c.id), nullable=False),
    Column("state", Text, nullable=False, comment="planned | delivered | failed"),
    Column("planned_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("sealed_at", DateTime(timezone=True)),
    Column("generation", Integer, nullable=False, server_default="1", comment="How often it was begun afresh"),
    Column("pruned_at", DateTime(timezone=True), comment="When its parts were forgotten"),
    Column("carrier", Text, comment="The run that planned it last"),
    Column("error", Text, comment="Why it was not sealed as delivered; lanes have reasons of their own"),
    Column("forgotten", BigInteger, comment="The manifest that lists what was pruned before it began afresh"),
    Column(
        "keeps_superseded",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="What it supersedes may hold events that the log store no longer does: nothing of it is removed",
    ),
    UniqueConstraint("window_start", "window_end", "destination"),
)
Index("deliveries_state", deliveries.c.destination, deliveries.c.state, deliveries.c.window_start)
Index("deliveries_window", deliveries.c.window_start, deliveries.c.id)
Index(
    "deliveries_open",
    deliveries.c.destination,
    deliveries.c.window_start,
    postgresql_where=deliveries.c.state != "delivered",
)

lane_attempts = Sequence("lane_attempts", metadata=metadata, schema=SCHEMA, data_type=BigInteger)

lanes = Table(
    "lanes",
    metadata,
    Column("delivery_id", ForeignKey(deliveries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("lane", Integer, primary_key=True),
    Column(
        "fingerprint",
        Text,
        nullable=False,
        comment="Of all that decides the lane's bytes; a checkpoint under another is void",
    ),
    Column("state", Text, nullable=False, comment="planned | delivering | delivered | failed"),
    Column("planned", JSON, nullable=False, comment="{workspace id: {kind: events}}"),
    Column("planned_bytes", BigInteger, nullable=False),
    Column("planned_events", BigInteger, nullable=False, server_default="0", comment="The sum of planned"),
    Column("now_ns", BigInteger, comment="The instant of the template's now placeholders, ns since 1970"),
    Column("names", JSON, comment="{workspace id: [external id, name]} at its first attempt, where wanted"),
    Column("position_us", BigInteger, comment="recorded_at of the last delivered event, microseconds since 2000"),
    Column("position_id", BigInteger, comment="id of the last delivered event"),
    Column(
        "trail",
        BigInteger,
        comment="Digest of the names of the requests that were sent after counted_*, up to the position",
    ),
    Column("counted_us", BigInteger, comment="As position_us: what the counts below take in; never after the position"),
    Column("counted_id", BigInteger, comment="As position_id"),
    Column(
        "part", Integer, nullable=False, server_default="0", comment="Parcels (requests or objects) delivered so far"
    ),
    Column("delivered", JSON, nullable=False, server_default="{}", comment="As planned"),
    Column("rejected", JSON, nullable=False, server_default="{}", comment="As planned"),
    Column("delivered_events", BigInteger, nullable=False, server_default="0", comment="The sum of delivered"),
    Column("rejected_events", BigInteger, nullable=False, server_default="0", comment="The sum of rejected"),
    Column("sizes", JSON, nullable=False, server_default="{}", comment="{workspace id: bytes of its messages}"),
    Column("bytes", BigInteger, nullable=False, server_default="0", comment="Sent, after compression"),
    Column(
        "requests", BigInteger, nullable=False, server_default="0", comment="Requests or objects, repeated ones too"
    ),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column(
        "attempt",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="The fencing token of the newest lease, from lane_attempts: a write that names another changes nothing",
    ),
    Column("leased_by", Text, comment="The task that delivers it now: ledger/leases.py"),
    Column("leased_until", DateTime(timezone=True), comment="When its lease runs out if it is not renewed"),
    Column("first_error", Text),
    Column("last_error", Text),
    Column("permanent", Integer, nullable=False, server_default="0", comment="1 if trying again will not help"),
    Column(
        "blameless",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="What stopped it last was no fault of its destination: the log store or the ledger was away, say",
    ),
    Column("started_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
)

rejections = Table(
    "rejections",
    metadata,
    Column("delivery_id", ForeignKey(deliveries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("event_id", BigInteger, primary_key=True),
    Column("lane", Integer, nullable=False),
    Column("workspace_id", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("request", Text, comment="The request or object that the event was in"),
    Column("redelivered_at", DateTime(timezone=True), comment="When it was delivered after all, on demand"),
    Column("rejected_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("discarded_at", DateTime(timezone=True), comment="When a person decided that it is not to be delivered"),
    Column("discarded_by", Text),
    Column("note", Text, comment="Why it was discarded"),
)
Index(
    "rejections_open",
    rejections.c.delivery_id,
    postgresql_where=rejections.c.redelivered_at.is_(None) & rejections.c.discarded_at.is_(None),
)

losses = Table(
    "losses",
    metadata,
    Column("delivery_id", ForeignKey(deliveries.c.id, ondelete="CASCADE"), primary_key=True),
    Column("workspace_id", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("reason", Text, primary_key=True, server_default="purged", comment="purged | written off: ledger/losses.py"),
    Column("events", BigInteger, nullable=False),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("acknowledged_at", DateTime(timezone=True)),
    Column("acknowledged_by", Text),
    Column("note", Text, comment="Why it was written off"),
    comment="Planned events that their destination will never get: ledger/losses.py",
)

lane_parts = Table(
    "lane_parts",
    metadata,
    Column("delivery_id", BigInteger, primary_key=True),
    Column("lane", Integer, primary_key=True),
    Column("parcels", Integer, primary_key=True, comment="Parcels of the lane delivered when this was written"),
    Column("entries", LargeBinary, nullable=False, comment="Objects or requests, NDJSON in zstd: proof/listings.py"),
    ForeignKeyConstraint(["delivery_id", "lane"], [lanes.c.delivery_id, lanes.c.lane], ondelete="CASCADE"),
)

superseded_parts = Table(
    "superseded_parts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("delivery_id", ForeignKey(deliveries.c.id, ondelete="CASCADE"), nullable=False),
    Column("entries", LargeBinary, nullable=False, comment="As those of lane_parts"),
    comment="What was put under plans that a newer one has replaced, or is being put: proof/manifests.py",
)
Index("superseded_parts_delivery", superseded_parts.c.delivery_id, superseded_parts.c.id)
Index("superseded_parts_entries", superseded_parts.c.delivery_id, func.md5(superseded_parts.c.entries))

manifests = Table(
    "manifests",
    metadata,
    Column("destination", Text, primary_key=True),
    Column(
        "position",
        BigInteger,
        primary_key=True,
        comment="Its place among all of its destination: the newest of a window is in force",
    ),
    Column("sequence", BigInteger, nullable=False, comment="Its place in its chain, from 1"),
    Column(
        "beside",
        Boolean,
        nullable=False,
        comment="Its chain is that of the manifests beside the data; else that of those in the ledger only",
    ),
    Column("delivery_id", BigInteger, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("window_start", DateTime(timezone=True), nullable=False),
    Column("window_end", DateTime(timezone=True), nullable=False),
    Column("document", Text, nullable=False, comment="The manifest, byte for byte what its digest is of"),
    Column("digest", Text, nullable=False, comment="SHA-256 of the document"),
    Column("signature", Text, comment="Ed25519, base64"),
    Column("sealed_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("put_at", DateTime(timezone=True), comment="When it was where it must be; before that it may be made anew"),
    UniqueConstraint("destination", "beside", "sequence", name="manifests_chains"),
)
Index("manifests_window", manifests.c.window_start, manifests.c.window_end)
Index("manifests_not_put", manifests.c.destination, postgresql_where=manifests.c.put_at.is_(None))

destinations = Table(
    "destinations",
    metadata,
    Column("name", Text, primary_key=True),
    Column("failures", Integer, nullable=False, server_default="0", comment="Windows that failed in a row"),
    Column("last_window", DateTime(timezone=True), comment="End of the last window that was counted as failed"),
    Column("suspended_at", DateTime(timezone=True)),
    Column("error", Text, comment="Why the last of them failed"),
    Column(
        "held",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Suspended by somebody: not even probed until somebody resumes it",
    ),
)

noticed = Table(
    "noticed",
    metadata,
    Column("subject", Text, primary_key=True, comment="A destination; empty for the whole deployment"),
    Column("told", JSON, nullable=False, comment="What was told of it last: ledger/news.py"),
    comment="What people were told last: ledger/notices.py",
)

notices = Table(
    "notices",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("receiver", Text, nullable=False, comment="The key of who is told: ledger/audiences.py"),
    Column("document", JSON, nullable=False, comment="topic, text, headline, detail, destination"),
    Column("noted_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("taken_until", DateTime(timezone=True), comment="A task tells it now, until then at the longest"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("told_at", DateTime(timezone=True)),
    Column("error", Text, comment="Why the last attempt failed: no text of a receiver"),
    comment="What is to be told, once to each receiver: ledger/notices.py",
)
Index("notices_untold", notices.c.receiver, notices.c.id, postgresql_where=notices.c.told_at.is_(None))

checks = Table(
    "checks",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("checked_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("error", Text, comment="The first step that failed; null if none did"),
    comment="How the last daily check of each destination ended",
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("happened_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("act", Text, nullable=False),
    Column("actor", Text, nullable=False, comment="Who, as Airflow calls them"),
    Column("source", Text, nullable=False, comment="From where: an address, or the command line"),
    Column("subject", Text, nullable=False, comment="The destination or connection; empty for the whole deployment"),
    Column("detail", JSON, nullable=False, comment="Plain data without secrets: control/audit.py"),
    Column("to_stream", Boolean, nullable=False, comment="It becomes an event of the log store"),
    Column("streamed_at", DateTime(timezone=True)),
    comment="What people did to the streaming itself: control/audit.py",
)
Index("audit_events_subject", audit_events.c.subject, audit_events.c.id)
Index("audit_events_to_stream", audit_events.c.id, postgresql_where=text("to_stream and streamed_at is null"))
