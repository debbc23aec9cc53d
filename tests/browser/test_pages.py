"""Both pages in real Chromium: policy, accessibility, colour schemes, a narrow screen, and what people do there."""

import os
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, FloatRect, Page
from tests.integration.up_process import Up

pytestmark = [pytest.mark.browser, pytest.mark.integration, pytest.mark.timeout(180)]

IMAGES = Path(__file__).parents[2] / "docs" / "images"
CLIP: dict[str, FloatRect] = {  # what a reader of the documentation needs to see of each page
    "overview": {"x": 0, "y": 0, "width": 1200, "height": 842},
    "incident": {"x": 0, "y": 0, "width": 1200, "height": 988},
}
Scheme = Literal["light", "dark"]
WIDE = (1200, 900)
NARROW = (390, 844)
# Chromium tells the page of everything the policy stops; a test asks for the list at the end.
WATCH = (
    "window.stopped = [];"
    "document.addEventListener('securitypolicyviolation', event => window.stopped.push(event.violatedDirective));"
)


class Visit:
    """One page as one reader sees it, with everything that went wrong on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))

    async def all_faults(self) -> list[str]:
        return self.faults + cast("list[str]", await self.page.evaluate("window.stopped"))


async def visit(
    browser: Browser, url: str, *, scheme: Scheme = "light", size: tuple[int, int] = WIDE, has_script: bool = True
) -> Visit:
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,
        timezone_id="UTC",
        locale="en-GB",
        java_script_enabled=has_script,
    )
    page = await context.new_page()
    await page.add_init_script(WATCH)
    found = Visit(page)
    await page.goto(url, wait_until="networkidle")
    return found


def incident_of(up: Up, rule: str) -> str:
    rows = up.rows("/v1/incidents", limit="100")
    incident: str = [row for row in rows if row["rule"] == rule][-1]["incident_id"]
    return incident


async def violations_of(page: Page) -> list[tuple[str, str]]:
    """Return the rules of accessibility that the page breaks, each with the first place."""
    found = await cast("Any", Axe()).run(page)
    violations = cast("list[dict[str, Any]]", found.response["violations"])
    return [(each["id"], each["nodes"][0]["html"]) for each in violations]


@pytest.fixture
def addresses(up: Up) -> dict[str, str]:
    return {
        "overview": up.url,
        "incident": f"{up.url}/incidents/{incident_of(up, 'flow failing')}",
        "silences": f"{up.url}/silences?matchers=flow%3Dorders-sync",
    }


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["overview", "incident", "silences"])
async def test_a_page_breaks_no_policy_and_no_rule_of_accessibility(
    browser: Browser, addresses: dict[str, str], *, name: str, scheme: Scheme, size: tuple[int, int]
) -> None:
    seen = await visit(browser, addresses[name], scheme=scheme, size=size)

    assert await violations(seen.page) == []
    assert await seen.all_faults() == []


async def violations(page: Page) -> list[tuple[str, str]]:
    """Return the rules of accessibility that a page breaks, each with where it does first."""
    found = await cast("Any", Axe()).run(page)
    broken = cast("list[dict[str, Any]]", found.response["violations"])
    return [(each["id"], each["nodes"][0]["html"]) for each in broken]


@pytest.mark.parametrize("name", ["overview", "incident", "silences"])
async def test_a_narrow_page_does_not_scroll_sideways(browser: Browser, addresses: dict[str, str], name: str) -> None:
    seen = await visit(browser, addresses[name], size=NARROW)

    width = await seen.page.evaluate("document.documentElement.scrollWidth")

    assert width == NARROW[0]


async def test_an_open_incident_leads_to_its_reasons(browser: Browser, up: Up) -> None:
    seen = await visit(browser, up.url)

    await seen.page.get_by_role("link", name="orders-sync").first.click()

    await seen.page.get_by_role("heading", name="Why").wait_for()
    text = await seen.page.inner_text("main")
    assert "Failure rate above threshold" in text
    assert "orders-db refused" in text
    assert "demo-receiver" in text
    assert "Delivered" in text
    assert await seen.page.locator("svg.meter").get_attribute("aria-label") == "60% against a threshold of 50%"


async def test_a_failing_run_leads_to_all_that_was_told_of_it(browser: Browser, up: Up) -> None:
    seen = await visit(browser, f"{up.url}/incidents/{incident_of(up, 'flow failing')}")

    await seen.page.locator("article.run a").first.click()

    await seen.page.get_by_role("heading", name="All that was told of it").wait_for()
    text = await seen.page.inner_text("main")
    assert "running" in text
    assert "connection to orders-db refused" in text
    found = await cast("Any", Axe()).run(seen.page)
    assert [each["id"] for each in cast("list[dict[str, Any]]", found.response["violations"])] == []
    assert await seen.all_faults() == []
    missing = await visit(browser, f"{up.url}/runs/nothing")
    assert "No such run" in await missing.page.inner_text("main")


async def test_late_runs_say_when_they_were_to_start_and_whether_they_did(browser: Browser, up: Up) -> None:
    seen = await visit(browser, f"{up.url}/incidents/{incident_of(up, 'runs not starting')}")

    await seen.page.get_by_role("heading", name="Late runs").wait_for()

    for row in await seen.page.locator("article.run").all():
        assert "called late" in await row.inner_text()
        assert "later" in await row.locator(".delay").inner_text()


@pytest.mark.parametrize("has_script", [True, False], ids=["with script", "without"])
async def test_an_incident_is_silenced_from_its_page_and_told_again(
    browser: Browser, up: Up, *, has_script: bool
) -> None:
    address = f"{up.url}/incidents/{incident_of(up, 'flow failing')}"
    seen = await visit(browser, address, has_script=has_script, size=NARROW)
    page = seen.page

    await page.get_by_role("link", name="Silence incidents like this one").click()
    await page.get_by_label("Lasts").fill("1h")
    await page.get_by_label("Your name", exact=True).fill("ann")
    await page.get_by_role("button", name="Preview").click()
    found = await page.get_by_role("status").inner_text()
    await page.get_by_label("Why", exact=True).fill("the database moves")
    faults = await violations_of(page) if has_script else []
    await page.get_by_role("button", name="Silence", exact=True).click()
    row = page.get_by_role("region", name="Silences, as a table").locator("tr", has_text="Active").first
    listed = await row.inner_text()
    faults += await violations_of(page) if has_script else []
    await row.get_by_placeholder("Your name").fill("bob")
    await row.get_by_role("button", name="End").click()
    after = await page.get_by_role("region", name="Silences, as a table").inner_text()

    assert "open now and" in found
    assert "would be hidden" in found
    assert 'rule="flow failing"' in listed
    assert "the database moves" in listed
    assert faults == []
    assert "ended by bob" in after


async def test_a_flapping_alert_says_so_and_what_would_damp_it_on_both_pages(browser: Browser, up: Up) -> None:
    said = "flapping: 5 incidents in 40 min, shortest 40 s; consider `keep_firing_for: 10m`"
    overview = await visit(browser, up.url)

    row = overview.page.get_by_role("region", name="Open incidents, as a table").locator("tr", has_text="invoice-mail")
    shown = await row.locator(".flapping").inner_text()
    await row.get_by_role("link").click()
    await overview.page.get_by_role("heading", name="Why").wait_for()

    assert shown == said
    assert await overview.page.locator(".why .flapping").inner_text() == said


async def test_every_time_on_the_incident_page_is_exact_for_machines(
    browser: Browser, addresses: dict[str, str]
) -> None:
    seen = await visit(browser, addresses["incident"])

    script = "all => all.map(time => time.dateTime).filter(at => !/^\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z$/.test(at))"
    assert await seen.page.locator("time").evaluate_all(script) == []
    unmarked = "main => main.innerText.match(/\\d\\d:\\d\\d:\\d\\d/g).length - main.querySelectorAll('time').length"
    assert await seen.page.locator("main").evaluate(unmarked) == 0


async def test_both_pages_say_everything_without_script(browser: Browser, addresses: dict[str, str]) -> None:
    overview = await visit(browser, addresses["overview"], has_script=False)
    incident = await visit(browser, addresses["incident"], has_script=False)

    await overview.page.get_by_text("The same as a table").click()

    assert await overview.page.get_by_role("columnheader", name="23", exact=True).count() == 1
    assert "UTC" in await overview.page.inner_text("section.banner")
    assert "ERROR connection to orders-db refused" in await incident.page.inner_text("main")


@pytest.mark.parametrize("has_script", [True, False], ids=["with script", "without"])
async def test_people_say_on_the_incidents_page_what_they_do_and_everybody_sees_who_did(
    browser: Browser, up: Up, *, has_script: bool
) -> None:
    incident = incident_of(up, "flow failing once")
    seen = await visit(browser, f"{up.url}/incidents/{incident}", has_script=has_script)
    who = f"ann {has_script}"

    await do(seen.page, "Acknowledge", who)
    await do(seen.page, "Assign", who, ("Assign to", "bob"))
    await do(seen.page, "Add a note", who, ("Note", "The mail server\nis <b>full</b>."))
    await do(seen.page, "Resolve by hand", who, ("Why it is over", "Mended."))

    told = await seen.page.locator(".acts li").all_inner_texts()
    assert [each.partition(who)[2].strip().rpartition(" ")[0].rpartition(" ")[0] for each in told[:4]] == [
        "resolved it by hand: Mended.",
        "noted: The mail server\nis <b>full</b>.",
        "assigned it to bob",
        "acknowledged it",
    ]
    if has_script:
        assert await violations(seen.page) == []
        assert await seen.all_faults() == []
    await seen.page.goto(up.url)
    row = seen.page.locator("tr", has=seen.page.locator(f'a[href="/incidents/{incident}"]'))
    assert (
        await row.locator(".handling").inner_text()
        == f"resolved by hand by {who}, acknowledged by {who}, assigned to bob"
    )


async def do(page: Page, button: str, who: str, *fields: tuple[str, str]) -> None:
    """Fill the form of a button and send it, as somebody does who reads labels."""
    form = page.locator("form", has=page.get_by_role("button", name=button))
    await form.get_by_label("Your name").fill(who)
    for label, text in fields:
        await form.get_by_label(label).fill(text)
    async with page.expect_navigation():
        await form.get_by_role("button", name=button).click()


async def test_the_overview_stays_current_and_leaves_a_reader_who_is_in_it_alone(browser: Browser, up: Up) -> None:
    seen = await visit(browser, up.url)
    mark = "document.querySelector('main section').dataset.seen = 'yes'"
    await seen.page.evaluate(mark)

    await seen.page.wait_for_selector("main section:not([data-seen])")

    await seen.page.evaluate(mark)
    await seen.page.locator("summary").focus()
    async with seen.page.expect_event("console", lambda message: message.text == "waited", timeout=30_000):
        await seen.page.evaluate("setTimeout(() => console.log('waited'), 6000)")
    assert await seen.page.locator("main section[data-seen]").count() == 1


async def test_times_are_utc_everywhere_and_the_readers_own_time_is_beside_them(browser: Browser, up: Up) -> None:
    context = await browser.new_context(timezone_id="Asia/Tokyo", locale="en-GB")
    page = await context.new_page()
    await page.goto(up.url, wait_until="networkidle")

    time = page.locator("main table time").first
    exact = await time.get_attribute("datetime")

    assert exact is not None
    assert exact.endswith("Z")
    assert (await time.inner_text()).endswith(f"{exact[11:19]} UTC")
    hour = (int(exact[11:13]) + 9) % 24
    said = await time.get_attribute("title")
    assert said is not None
    assert said.startswith(f"{exact}, here ")
    assert f", {hour:02}:{exact[14:16]}" in said


@pytest.mark.parametrize("name", ["overview", "incident"])
async def test_the_pictures_of_the_pages_are_made_from_the_pages(
    browser: Browser, addresses: dict[str, str], name: str
) -> None:
    """With FLOWGAUGE_UPDATE_IMAGES=1 they are written again; the documentation shows what there is."""
    if os.environ.get("FLOWGAUGE_UPDATE_IMAGES") == "1":
        IMAGES.mkdir(parents=True, exist_ok=True)
        seen = await visit(browser, addresses[name])
        await seen.page.screenshot(path=IMAGES / f"{name}.png", clip=CLIP[name], full_page=True)

    assert (IMAGES / f"{name}.png").read_bytes().startswith(b"\x89PNG")
