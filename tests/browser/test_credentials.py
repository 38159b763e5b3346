"""Credentials without leaving the page: made, tested, broken, repaired, in few clicks."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Frame, Locator, expect

from logstream.testing.servers import S3rver

from ..stage import Stage
from .person import Person, call, picture, start_from

pytestmark = [pytest.mark.e2e, pytest.mark.thorough, pytest.mark.timeout(300)]

MOST_CLICKS = 15


class Hand:
    """A person's hand at the mouse: it clicks into every field before it types, and twice to choose from a list."""

    def __init__(self, page: Frame) -> None:
        self.page, self.clicks = page, 0

    def click(self, target: Locator) -> None:
        target.click()
        self.clicks += 1

    def type(self, label: str, text: str) -> None:
        self.click(self.field(label))
        self.field(label).fill(text)

    def choose(self, label: str, value: str) -> None:
        self.page.get_by_label(label).select_option(value)
        self.clicks += 2

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(label).and_(self.page.locator(":visible"))

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)


def test_from_nothing_to_s3_with_new_credentials(admin: Person, stage: Stage, s3rver: S3rver) -> None:
    start_from(stage, {})
    s3rver.make_bucket("from-nothing")
    page = admin.visit()
    before, hand = page.url, Hand(page)
    hand.click(page.get_by_label("Enable setup and streaming of customer audit logs"))
    hand.click(page.get_by_role("checkbox", name="User activity"))
    hand.type("Destination name", "nothing")
    hand.choose("Destination type", "s3")
    hand.click(hand.button("New credentials"))
    expect(hand.field("Name of the connection")).to_have_value("nothing")
    hand.type("Access key ID", "S3RVER")
    hand.type("Secret access key", "S3RVER")
    hand.type("Endpoint", s3rver.url)
    admin.page.keyboard.press("Enter")  # as in any form
    expect(page.locator("[id='option.connection']")).to_have_value("nothing")
    expect(hand.button("Test destination")).to_be_focused()
    hand.type("Bucket", "from-nothing")
    hand.click(hand.button("Test destination"))
    expect(page.locator("#steps")).to_contain_text("It works")
    assert page.url == before
    hand.click(hand.button("Save"))
    expect(page.get_by_role("status").first).to_contain_text("Saved as version")
    assert hand.clicks <= MOST_CLICKS, hand.clicks
    made = stage.airflow.call("GET", "/api/v2/connections/nothing")
    assert (made["conn_type"], made["login"], json.loads(made["extra"])) == (
        "aws",
        "S3RVER",
        {"endpoint_url": s3rver.url},
    )

    # it breaks
    page = admin.visit("destinations/nothing")
    hand = Hand(page)
    hand.click(hand.button("Edit these credentials"))
    expect(hand.field("Secret access key")).to_have_value("")
    expect(hand.field("Secret access key")).to_have_attribute("placeholder", "unchanged if left empty")
    hand.type("Access key ID", "ROTATED")  # (s3rver knows one key; it judges no signature)
    hand.click(hand.button("Save the connection"))
    expect(page.locator("#credentials")).to_contain_text("is changed")
    hand.click(hand.button("Test destination"))
    expect(page.locator("#steps")).to_contain_text("there is no such access key")
    # and is repaired: what was not typed again, the secret, has stayed
    hand.click(hand.button("Edit these credentials"))
    hand.type("Access key ID", "S3RVER")
    hand.click(hand.button("Save the connection"))
    expect(page.locator("#credentials")).to_contain_text("is changed")
    expect(page.locator("#steps")).to_be_empty()
    hand.click(hand.button("Test destination"))
    expect(page.locator("#steps")).to_contain_text("It works")
    stage.airflow.call("DELETE", "/api/v2/connections/nothing")


def test_the_form_of_credentials(admin: Person, viewer: Person, stage: Stage) -> None:
    start_from(stage, {})
    page = admin.visit()
    page.get_by_label("Destination name").fill("blobs")
    page.get_by_label("Destination type").select_option("azure_blob")
    # there is none of this type: the form is open, and mistakes stand at their fields
    form = page.get_by_role("group", name="New credentials")
    form.get_by_label("Authentication").select_option("principal")
    expect(form.locator("[id='credential.key.account_key']")).to_be_hidden()
    secret = form.get_by_label("Client secret").and_(page.locator(":visible"))
    secret.fill("canary-typed")
    form.get_by_role("button", name="Create the connection").click()
    expect(form.locator("[id='error-credential.principal.tenant_id']")).to_have_text("Is required.")
    expect(secret).to_have_value("canary-typed")
    picture(admin, "credentials-light")
    form.get_by_role("button", name="Cancel").click()
    expect(form).to_have_count(0)
    # the least rights follow the options
    page.get_by_label("Destination type").select_option("s3")
    expect(page.get_by_label("Bucket")).to_be_visible()
    page.get_by_text("The least rights it needs").click()
    rights = page.locator("#rights-text")
    expect(rights).to_contain_text("arn:aws:s3:::BUCKET/*")
    page.get_by_label("Bucket").fill("audit")
    page.get_by_label("Prefix").fill("logs/")
    page.get_by_label("Prefix").press("Tab")
    expect(rights).to_contain_text("arn:aws:s3:::audit/logs/*")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#copied")).to_have_text("Copied.")
    expect(page.get_by_role("link", name="The vendor's documentation")).to_have_attribute(
        "href", re.compile("^https://docs.aws")
    )
    # a connection of the environment is edited there
    page.get_by_role("button", name="lake", exact=True).click()
    page.get_by_role("button", name="Edit these credentials").click()
    expect(page.locator("#credentials")).to_contain_text("comes from the environment")
    # who may not edit connections sees none of it, and cannot send it
    page = viewer.visit()
    expect(page.get_by_role("button", name="New credentials")).to_have_count(0)
    expect(page.locator("#credentials-form")).to_have_count(0)
    sent: dict[str, str | float | bool] = {
        "destination_type": "s3",
        "credential.id": "forged",
        "credential.new": "true",
        "csrf_token": viewer.token(),
    }
    assert viewer.context.request.post(viewer.base + "parts/credentials", form=sent).status == 403
    sent["csrf_token"] = "forged"
    assert admin.context.request.post(admin.base + "parts/credentials", form=sent).status == 403
    assert call(stage, "GET", "parts/credentials?destination_type=s3", user="viewer")[0] == 403
