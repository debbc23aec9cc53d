"""The picture of a Slack message in the documentation: the blocks of a real one, drawn in real Chromium."""

import os
import re

import pytest
from playwright.async_api import Browser
from tests.browser.slack_page import page
from tests.browser.test_pages import IMAGES
from tests.notices import DETAILS, FIRING, notice, storm

from flowgauge.sinks.webhooks.kinds.slack_blocks import slack_message

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SIZE = {"width": 820, "height": 900}


async def test_the_picture_of_slack_messages_is_made_from_their_blocks(browser: Browser) -> None:
    """With FLOWGAUGE_UPDATE_IMAGES=1 it is written again; the documentation shows what is sent."""
    opening, many = slack_message(notice(FIRING, details=DETAILS)), slack_message(notice(*storm(240)))

    opened = await browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]})
    await opened.set_content(page([("09:51", opening), ("11:20", many)]))

    said = await opened.inner_text("body")
    assert "🔴 Firing: orders-sync failing" in said
    assert "🔴 240 incidents: 216 firing, 24 resolved" in said
    assert not re.search(r"[<>`]|\*\w", said)
    if os.environ.get("FLOWGAUGE_UPDATE_IMAGES") == "1":
        await opened.screenshot(path=IMAGES / "slack-message.png", full_page=True)
    assert (IMAGES / "slack-message.png").read_bytes().startswith(b"\x89PNG")
