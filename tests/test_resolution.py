"""Who gets what: every combination in a table, and the rule as a property."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logstream.settings.models import DestinationSettings, Settings, Streaming, WorkspaceSettings
from logstream.settings.resolution import Reason, Workspace, overridden, resolve, route_of

ON = Streaming(enabled=True, events=("job_status",), destination="own")
OFF = Streaming(enabled=False, events=("job_status",), destination="own")
ADMIN_ON = Streaming(enabled=True, events=("job_details",), destination="lake")
ADMIN_OFF = Streaming(enabled=False, events=("job_details",), destination="lake")


@pytest.mark.parametrize(
    ("admin", "own", "streaming", "reason"),
    [
        (None, None, None, Reason.NOT_SET),
        (None, OFF, None, Reason.OWN_DISABLED),
        (None, ON, ON, Reason.OWN),
        (ADMIN_OFF, None, None, Reason.NOT_SET),
        (ADMIN_OFF, OFF, None, Reason.OWN_DISABLED),
        (ADMIN_OFF, ON, ON, Reason.OWN),
        (ADMIN_ON, None, ADMIN_ON, Reason.ADMIN_OVERRIDE),
        (ADMIN_ON, OFF, ADMIN_ON, Reason.ADMIN_OVERRIDE),
        (ADMIN_ON, ON, ADMIN_ON, Reason.ADMIN_OVERRIDE),
    ],
)
@pytest.mark.parametrize("role", ["customer", "admin"])
def test_every_combination(
    admin: Streaming | None, own: Streaming | None, streaming: Streaming | None, reason: Reason, role: str
) -> None:
    assert route_of(admin, own) == (streaming, reason)
    settings = Settings(admin=admin, workspaces=(WorkspaceSettings(id=5, streaming=own),) if own else ())
    (route,) = resolve(settings, [Workspace(5, role=role)])
    assert (route.streaming, route.reason) == (streaming, reason)
    assert route.destination == (streaming.destination if streaming else None)


streamings = st.sampled_from([None, ON, OFF])


@given(
    st.sampled_from([None, ADMIN_ON, ADMIN_OFF]),
    st.dictionaries(st.integers(0, 20), streamings.filter(bool), max_size=10),
    st.lists(st.integers(0, 30), unique=True, max_size=20),
)
def test_one_route_for_each_workspace(admin: Streaming | None, own: dict[int, Streaming], ids: list[int]) -> None:
    settings = Settings(
        admin=admin,
        workspaces=tuple(WorkspaceSettings(id=key, streaming=value) for key, value in own.items()),
        destinations={name: DestinationSettings(type="file", path="/x") for name in ("own", "lake")},
    )
    routes = resolve(settings, [Workspace(identity) for identity in ids])
    assert [route.workspace.id for route in routes] == ids
    for route in routes:
        if admin is ADMIN_ON:
            assert route.streaming == ADMIN_ON
        else:
            # no other workspace's setting is ever used
            mine = own.get(route.workspace.id)
            assert route.streaming == (mine if mine and mine.enabled else None)
    assert overridden(settings) == [key for key, value in own.items() if value.enabled]
