"""Two chains of a destination: that of the manifests beside its data, and that of those that are in the ledger only."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

# Of these types none ever kept objects. Of a plug-in's it is not known here.
_SERVICES = "http azure_monitor splunk_hec datadog sumo_logic grafana_loki new_relic elasticsearch"

# Destinations of which no settings ever wanted a manifest beside the data. Snapshots of settings are never deleted, and each is
# read once. No document of a manifest is: there may be many, and they may be large.
_BY_SETTINGS = f"""
update logstream.manifests set beside = false where destination in (
    select o.key from logstream.settings_snapshots s,
        json_each(case json_typeof(s.document -> 'destinations') when 'object' then s.document -> 'destinations' else '{{}}' end) o
    group by o.key
    having bool_and(
        o.value ->> 'type' = any(string_to_array('{_SERVICES}', ' '))
        or coalesce(o.value ->> 'manifests', case o.value ->> 'type' when 'file' then 'false' end) = 'false'))
"""  # noqa: S608 - all of it is ours

# Of the others the documents tell: a service has no prefix. In a JSON string the quotes would be escaped. Where manifests are beside
# the data, the first of them says so, and no other is read.
_BY_DOCUMENTS = """
update logstream.manifests set beside = false where destination in (
    select d.name from (select distinct destination as name from logstream.manifests where beside) d
    where not exists (
        select from logstream.manifests m where m.destination = d.name and m.document not like '%"prefix"\\:null%'))
"""

# what is in the ledger only is where it must be
_PUT = """
update logstream.manifests set put_at = sealed_at
where put_at is null and (not beside or document like '%"prefix"\\:null%')
"""


def upgrade() -> None:
    """Make the columns. A chain in which both kinds are mixed is continued as the one beside the data."""
    op.alter_column(
        "manifests", "sequence", new_column_name="position", schema="logstream",
        comment="Its place among all of its destination: the newest of a window is in force",
        existing_comment="Its place in the destination's chain, from 1",
    )  # fmt: skip
    number: sa.Column[int] = sa.Column("sequence", sa.BigInteger(), comment="Its place in its chain, from 1")
    op.add_column("manifests", number, schema="logstream")
    beside: sa.Column[bool] = sa.Column(
        "beside", sa.Boolean(), nullable=False, server_default=sa.true(),
        comment="Its chain is that of the manifests beside the data; else that of those in the ledger only",
    )  # fmt: skip
    op.add_column("manifests", beside, schema="logstream")
    op.execute("update logstream.manifests set sequence = position")
    op.execute(_BY_SETTINGS)
    op.execute(_BY_DOCUMENTS)
    op.execute(_PUT)
    op.alter_column("manifests", "sequence", nullable=False, schema="logstream")
    # a worker of an older version that is still at work cannot say which chain it means: what it seals is owed, and sealed again
    op.alter_column("manifests", "beside", server_default=None, schema="logstream")
    op.create_unique_constraint(
        "manifests_chains", "manifests", ["destination", "beside", "sequence"], schema="logstream"
    )


def downgrade() -> None:
    """Take them away."""
    op.drop_constraint("manifests_chains", "manifests", schema="logstream")
    op.drop_column("manifests", "beside", schema="logstream")
    op.drop_column("manifests", "sequence", schema="logstream")
    op.alter_column(
        "manifests", "position", new_column_name="sequence", schema="logstream",
        comment="Its place in the destination's chain, from 1",
        existing_comment="Its place among all of its destination: the newest of a window is in force",
    )  # fmt: skip
