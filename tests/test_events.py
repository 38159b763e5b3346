"""Which events a selection takes."""

from __future__ import annotations

import pytest

from logstream.events import Selection

ALL = ("job_status", "job_details", "user_activity", "api_platform", "log_service")


@pytest.mark.parametrize(
    ("events", "types", "levels", "event", "taken"),
    [
        (["job_status"], [], [], ("job", None, None), True),
        (["job_details"], [], [], ("job", None, None), True),
        (["user_activity"], [], [], ("job", None, None), False),
        (["user_activity"], [], [], ("user_activity", None, None), True),
        (["api_platform"], [], [], ("api_platform", None, None), True),
        (["log_service"], [], [], ("log_service", None, None), True),
        (["log_service"], [], [], ("log_service", "recipe", "debug"), True),
        (["log_service"], ["recipe"], [], ("log_service", "recipe", None), True),
        (["log_service"], ["recipe"], [], ("log_service", "connector", "warn"), False),
        (["log_service"], ["Recipe"], [], ("log_service", "RECIPE", None), True),
        (["log_service"], [], ["warn", "error"], ("log_service", "recipe", "error"), True),
        (["log_service"], [], ["warn", "error"], ("log_service", "recipe", "info"), False),
        (["log_service"], [], ["warn"], ("log_service", "recipe", None), False),
        (["log_service"], ["recipe"], ["warn"], ("log_service", "recipe", "warn"), True),
        (["log_service"], ["recipe"], ["warn"], ("log_service", "connector", "warn"), False),
        (ALL, ["recipe"], ["warn"], ("job", None, None), True),
        (ALL, [], [], ("something_new", None, None), False),
    ],
)
def test_selection(
    events: list[str], types: list[str], levels: list[str], event: tuple[str, str, str], taken: bool
) -> None:
    assert Selection.of(events, types, levels).matches(*event) is taken


@pytest.mark.parametrize(
    ("events", "dropped"),
    [(["job_status"], True), (["job_details"], False), (["job_status", "job_details"], False)],
)
def test_job_details_include_what_job_status_gives(events: list[str], dropped: bool) -> None:
    assert Selection.of(events).drops_lines is dropped
