"""The Dagster UI as a person uses it, in headless Chromium."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page
    from psycopg_pool import ConnectionPool

    from tests.e2e.conftest import Demo

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
PAGE_MILLISECONDS = 60_000
RUN_SECONDS = 120

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH; on Debian: apt-get install chromium")


@pytest.fixture
def page(demo: Demo) -> Iterator[Page]:
    """A page of a fresh browser profile, pointed at the demo's UI."""
    arguments = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            opened = browser.new_page(base_url=demo.url, viewport={"width": 1600, "height": 1000})
            opened.set_default_timeout(PAGE_MILLISECONDS)
            yield opened
        finally:
            browser.close()


def last_build(pool: ConnectionPool, asset_key: str) -> tuple[str, int]:
    query = "select run_id, rows from progress.builds where tenant_id = '*' and asset_key = %s"
    with pool.connection() as connection:
        row = connection.execute(query, [asset_key]).fetchone()
    assert row is not None
    return row


def test_a_person_opens_the_graph_clicks_an_asset_and_materializes_it(
    demo: Demo, demo_pool: ConnectionPool, page: Page
) -> None:
    """The graph shows the room, a click shows the asset's description, the button starts a run that ends well."""
    before = last_build(demo_pool, "read_models/lead_analytics")
    page.goto("/locations/analytics_pipelines/asset-groups/read_models/lineage")
    page.get_by_text("lead_analytics").first.click()
    expect(page.get_by_text("One row per tenant and lead").first).to_be_visible()
    page.get_by_role("button", name="Materialize selected").click()
    deadline = time.monotonic() + RUN_SECONDS
    while last_build(demo_pool, "read_models/lead_analytics") == before:
        assert time.monotonic() < deadline, "the run did not materialize the asset"
        time.sleep(1)
    run_id, rows = last_build(demo_pool, "read_models/lead_analytics")
    assert rows == before[1]
    page.goto(f"/runs/{run_id}")  # of this run or of the sensor's, whose checks may still be going on
    expect(page.get_by_text("Success").first).to_be_visible(timeout=1000 * RUN_SECONDS)


def test_the_catalog_shows_what_people_want_to_see(demo: Demo, page: Page) -> None:
    """A mart's page shows its rows, its columns with their meaning, its owner, kinds and checks."""
    page.goto("/assets/marts/fct_order_lines")
    for text in ("1,471,", "One row per tenant, order and line", "line_number", "The line's place in its order", "dbt"):
        expect(page.get_by_text(text).first).to_be_visible()


def test_a_forecast_is_shown_as_a_picture(demo: Demo, page: Page) -> None:
    """The metadata of the forecast holds a picture, drawn from this build."""
    page.goto("/assets/forecasts/forecasts?view=events")
    page.get_by_text("[Show Markdown]").first.click()
    picture = page.locator("img[src^='data:image/png']").first
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 400


def test_the_catalog_opens_the_documentation_of_dbt(demo: Demo, page: Page) -> None:
    """A person has dbt's documentation written, follows the link that is shown then, and reads it."""
    page.goto("/assets/reports/dbt_docs")
    page.get_by_role("button", name="Materialize").first.click()
    link = page.locator("a[href^='http://127.0.0.1:']", has_text="http://127.0.0.1:").first
    deadline = time.monotonic() + RUN_SECONDS
    while not link.is_visible():  # the page itself does not look again for metadata
        assert time.monotonic() < deadline, "no link to the documentation is shown"
        try:  # not until the network is idle: on a busy machine the UI's polls never end
            link.wait_for(timeout=10_000)
        except PlaywrightTimeout:
            page.reload()
    with page.context.expect_page() as opened:
        link.click()
    expect(opened.value).to_have_title("dbt Docs")


def test_schedules_and_sensors_are_running(demo: Demo, page: Page) -> None:
    """What should run by itself is switched on in the UI."""
    page.goto("/automation")
    for name in ("nightly_lineage", "weekly_clean_up", "landing_folder", "campaign_launch_sensor"):
        expect(page.get_by_text(name).first).to_be_visible()
