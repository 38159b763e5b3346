"""Two chains of a destination: that of the manifests beside its data, and that of those that are in the ledger only."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

# Of these types none ever kept objects. Of a plug-in's it is not known here.
_SERVICES = "http azure_monitor splunk_hec datadog sumo_logic grafana_loki new_relic elasticsearch"

# Of each destination, whether no settings ever wanted a manifest beside the data. Snapshots of settings are never deleted, and each
# is read once.
_BY_SETTINGS = f"""
select o.key, bool_and(coalesce(
    o.value ->> 'type' = any(string_to_array('{_SERVICES}', ' '))
    or coalesce(o.value ->> 'manifests', case o.value ->> 'type' when 'file' then 'false' else 'true' end) = 'false', false)), max(s.id)
from logstream.settings_snapshots s,
    json_each(case json_typeof(s.document -> 'destinations') when 'object' then s.document -> 'destinations' else '{{}}' end) o
where s.id > :after group by o.key
"""  # noqa: S608 - all of it is ours

# Of the others the documents tell: a service has no prefix. In a JSON string the quotes would be escaped. Where manifests are beside
# the data, nearly always the first of them says so, and no other is read.
_BY_DOCUMENTS = r"""
select d.name, d.newest
from (select destination as name, max(sequence) as newest from logstream.manifests
    where destination <> all(:known) group by destination) d
where case when (select m.document like '%"prefix"\:null%' from logstream.manifests m where m.destination = d.name
        order by m.sequence limit 1)
    then not exists (select from logstream.manifests m where m.destination = d.name and m.document not like '%"prefix"\:null%')
    else false end
"""

# a worker of before may have added some since they were read
_MEANWHILE = r"""
select n.name from unnest(cast(:names as text[]), cast(:newest as bigint[])) as n(name, newest)
join logstream.manifests m on m.destination = n.name and m.position > n.newest
where m.document not like '%"prefix"\:null%'
"""

# what is in the ledger only is where it must be
_PUT = r"""
update logstream.manifests set put_at = sealed_at
where put_at is null and (not beside or document like '%"prefix"\:null%')
"""

_SPACE = 2**20


def upgrade() -> None:
    """Make the columns. A chain in which both kinds are mixed is continued as the one beside the data.

    There may be many documents, and large ones: those that must be read are read before the table is locked.
    """
    connection = op.get_bind()
    told = connection.execute(sa.text(_BY_SETTINGS), {"after": 0}).all()
    by_settings = [name for name, never, _ in told if never]
    seen = max((newest for *_, newest in told), default=0)
    rows = connection.execute(sa.text(_BY_DOCUMENTS), {"known": by_settings})
    by_documents: dict[str, int] = {row.name: row.newest for row in rows}
    op.alter_column(
        "manifests", "sequence", new_column_name="position", schema="logstream",
        comment="Its place among all of its destination: the newest of a window is in force",
        existing_comment="Its place in the destination's chain, from 1",
    )  # fmt: skip
    number: sa.Column[int] = sa.Column("sequence", sa.BigInteger(), comment="Its place in its chain, from 1")
    op.add_column("manifests", number, schema="logstream")
    beside: sa.Column[bool] = sa.Column(
        "beside",
        sa.Boolean(),
        comment="Its chain is that of the manifests beside the data; else that of those in the ledger only",
    )
    op.add_column("manifests", beside, schema="logstream")
    changed = {name for name, never, _ in connection.execute(sa.text(_BY_SETTINGS), {"after": seen}) if not never}
    given = {"names": list(by_documents), "newest": list(by_documents.values())}
    changed |= set(connection.execute(sa.text(_MEANWHILE), given).scalars())
    names = sorted({*by_settings, *by_documents} - changed)
    # with room between them, as new ones have it, for those that are taken over later and were made in between
    longest = connection.execute(sa.text("select max(position) from logstream.manifests")).scalar()
    space = _SPACE if (longest or 0) < _SPACE else 1
    every = "update logstream.manifests set sequence = position, beside = destination <> all(:names), position = position * :space"
    connection.execute(sa.text(every), {"names": names, "space": space})
    forgotten = "update logstream.deliveries set forgotten = forgotten * :space where forgotten is not null"
    connection.execute(sa.text(forgotten), {"space": space})
    op.execute(_PUT)
    op.alter_column("manifests", "sequence", nullable=False, schema="logstream")
    # a worker of an older version that is still at work cannot say which chain it means: what it seals is owed, and sealed again
    op.alter_column("manifests", "beside", nullable=False, schema="logstream")
    op.create_unique_constraint(
        "manifests_chains", "manifests", ["destination", "beside", "sequence"], schema="logstream"
    )


# Positions have gaps; a chain that is the only one gets its numbers back. In two steps, as the numbers of some are others' positions.
_ONE_CHAIN = """
create temporary table numbered on commit drop as
    select destination, position, row_number() over (partition by destination order by position) as number
    from logstream.manifests;
update logstream.deliveries d set forgotten = n.number
from numbered n where (n.destination, n.position) = (d.destination, d.forgotten);
update logstream.manifests m set position = -n.number
from numbered n where (n.destination, n.position) = (m.destination, m.position);
update logstream.manifests set position = -position;
"""


def downgrade() -> None:
    """Take them away. Refuses where a destination has both chains: before, it could have but one."""
    both = sa.text(
        "select destination from logstream.manifests group by 1 having count(distinct beside) = 2 order by 1"
    )
    names = op.get_bind().execute(both).scalars().all()
    if names:
        raise ValueError(
            f"destinations have two chains of manifests, of which version 0017 knows one: {', '.join(names[:5])}"
        )
    op.drop_constraint("manifests_chains", "manifests", schema="logstream")
    op.drop_column("manifests", "beside", schema="logstream")
    op.drop_column("manifests", "sequence", schema="logstream")
    for statement in filter(str.strip, _ONE_CHAIN.split(";")):
        op.execute(statement)
    op.alter_column(
        "manifests", "position", new_column_name="sequence", schema="logstream",
        comment="Its place in the destination's chain, from 1",
        existing_comment="Its place among all of its destination: the newest of a window is in force",
    )  # fmt: skip
