"""The page of deliveries in real Chromium: policy, accessibility, a narrow screen, and sending again without script."""

from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, expect
from tests.browser.conftest import chromium
from tests.browser.test_pages import NARROW, WIDE, Scheme, violations_of, visit
from tests.integration.test_deliveries_up import dead, gone_receiver
from tests.integration.test_silences_up import publish_failure
from tests.integration.up_process import Up, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Run a server whose only channel wants no more, with two deliveries."""
    chromium()
    with gone_receiver(tmp_path_factory.mktemp("gone")) as (running, _):
        for flow in ("orders", "stock"):
            publish_failure(running, flow)
        yield running


@pytest.fixture
def up(server: Up) -> Up:
    """Return the server once both deliveries are given up, also those that a test before sent again."""
    wait_for(lambda: len(dead(server)) == 2, "both to be given up")
    return server


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_breaks_no_policy_and_no_rule_of_accessibility(
    browser: Browser, up: Up, *, scheme: Scheme, size: tuple[int, int]
) -> None:
    seen = await visit(browser, f"{up.url}/deliveries", scheme=scheme, size=size)

    assert await violations_of(seen.page) == []
    assert await seen.all_faults() == []
    assert await seen.page.evaluate("document.documentElement.scrollWidth") == size[0]


@pytest.mark.parametrize("has_script", [True, False], ids=["with script", "without"])
async def test_what_was_given_up_is_found_and_asked_for_again(browser: Browser, up: Up, *, has_script: bool) -> None:
    seen = await visit(browser, up.url, has_script=has_script)
    page = seen.page

    await page.get_by_role("navigation").get_by_role("link", name="Deliveries").click()
    await page.get_by_label("Outcome").select_option("dead")
    await page.get_by_label("Channel", exact=True).fill("receiver")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("region", name="Deliveries, as a table").locator("tbody tr")).to_have_count(2)
    first = page.locator("tbody tr").first
    await first.get_by_placeholder("Your name").fill("ann")
    await first.get_by_role("button", name="Replay").click()
    one = await page.get_by_role("status").inner_text()
    faults = await violations_of(page) if has_script else []
    await page.get_by_label("To the channel").fill("receiver")
    await page.get_by_label("Your name", exact=True).fill("ann")
    await page.get_by_role("button", name="Replay all").click()
    many = await page.get_by_role("status").inner_text()

    assert "is sent to receiver again, under the same id" in one
    assert "receiver" in many
    assert faults == []


async def test_an_incident_has_what_it_did_not_tell_sent_again(browser: Browser, up: Up) -> None:
    seen = await visit(browser, f"{up.url}/incidents/{dead(up)[0]['incident_id']}", size=NARROW)
    page = seen.page
    deliveries = page.get_by_role("region", name="Deliveries")

    faults = await violations_of(page)
    await deliveries.get_by_placeholder("Your name").fill("ann")
    await deliveries.get_by_role("button", name="Replay").click()
    await page.get_by_role("status").get_by_role("link", name="Its incident").click()
    await page.get_by_role("heading", name="Who was told").wait_for()

    assert faults == []
