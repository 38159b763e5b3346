"""Addresses that no page has: kept ones that were mistyped, and those of forms. A browser is shown a page, the API's clients JSON."""

from __future__ import annotations

import pytest

from logstream.console import runs

from .asked import Asked, ask

__all__ = ["ask"]  # a fixture


@pytest.mark.parametrize("path", ["nope", "customers/1/nope", "parts/nope", "dead-lettres"])
def test_an_address_without_a_page_is_told_on_a_page(ask: Asked, path: str) -> None:
    answer = ask("GET", path)
    assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/html")
    assert "There is no such page." in answer.text and "Back to the overview" in answer.text


def test_the_address_of_a_form_is_told_on_a_page(ask: Asked) -> None:
    """As when the address of a page that said what could not be saved is opened again."""
    answer = ask("GET", "destinations/lake/options")
    assert answer.status_code == 404 and "There is no such page." in answer.text


def test_a_stranger_learns_of_no_address(ask: Asked) -> None:
    answer = ask("GET", "nope", role=None)
    assert answer.status_code == 307 and "/auth/login" in answer.headers["location"]


def test_a_slash_too_many_does_no_harm(ask: Asked) -> None:
    answer = ask("GET", "customers/?condition=held")
    assert answer.status_code == 307 and answer.headers["location"].endswith("/logstream/customers?condition=held")


def test_the_api_and_the_files_answer_as_ever(ask: Asked) -> None:
    for path, status in (("api/v1/nope", 404), ("api/v1/check", 405), ("static/nope.js", 404)):
        answer = ask("GET", path)
        assert answer.status_code == status, path
        assert "There is no such page." not in answer.text, path
    assert ask("POST", "nope").status_code == 404


def test_the_run_of_an_act_is_a_link_and_no_escaped_address(ask: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "dags/logstream_redeliver/runs/manual__2026-03-01T00%3A00%3A00"
    monkeypatch.setattr(runs, "start_redelivery", lambda *_: run)
    monkeypatch.setattr("logstream.console.requests.may_start", lambda _: None)
    assert ask("POST", "api/v1/redeliveries", json={}).status_code in (200, 201, 202)
    page = ask("GET", "activity").text
    assert f'<a class="out" href="/{run}">Run in Airflow</a>' in page and page.count("%3A00") == 2, "in the link alone"
