"""The pages in Chromium: a path for each of the three people, and what axe finds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from anomalist.eval.run_examples import write_clip_run
from tests.cli.running import run
from tests.server.conftest import HOLED, PASSWORD
from tests.server.processes import ServerProcess, running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
FOCUSED = "(({ id, name, textContent }) => id || name || textContent.trim())(document.activeElement)"
PHONE = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def server(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("paged") / "home"
    shutil.copytree(learned / "profiles", home / "profiles")
    with running(home) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, server: ServerProcess) -> Iterator[Any]:
    """A page of a browser in which no script may fail, and nothing is asked of another host."""
    context = browser.new_context(base_url=server.address, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Content Security" in said.text else None)
    page.on(
        "request",
        lambda sent: (
            None
            if sent.url.startswith((server.address, "blob:", "data:"))
            else faults.append(f"asked {sent.url}")
        ),
    )
    yield page
    context.close()
    assert faults == []


@pytest.fixture(scope="module")
def hole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hole") / "hole.png"
    path.write_bytes(HOLED)
    return path


def inspect(page: Any, picture: Path) -> None:
    page.goto("/")
    listed = int(page.locator("#inspected .amount").inner_text())
    page.get_by_label("False-alarm rate").fill("0.1")
    page.set_input_files("#pictures", str(picture))
    page.get_by_text("1 inspected.").wait_for(timeout=120_000)
    assert page.locator("#inspected .amount").inner_text() == str(listed + 1)


def test_an_inspector_inspects_looks_closer_asks_and_corrects(page: Any, hole: Path) -> None:
    inspect(page, hole)
    page.locator("#list tbody tr").first.get_by_role("link", name="hole.png").click()
    page.get_by_role("heading", name="hole.png").wait_for()
    assert "anomalous" in page.locator(".marks").inner_text()
    page.get_by_label("Anomaly map").fill("90")
    assert page.locator("#heat").evaluate("image => image.style.opacity") == "0.9"
    page.get_by_label("Outlines").uncheck()
    assert page.locator("#boxes").is_hidden()
    close = page.locator("#R1 img").first
    assert close.evaluate("async image => (await image.decode(), image.naturalWidth)") > 0
    page.get_by_label("Question").fill("Where is it? A) upper left B) lower right")
    page.get_by_role("button", name="Ask").click()
    page.locator(".reply .chosen").wait_for(timeout=120_000)
    assert page.locator(".reply .chosen").inner_text().startswith("A. upper left")
    page.get_by_role("button", name="This is fine").click()
    page.get_by_role("button", name="Take it back").click()
    page.get_by_text("is taken back").wait_for()


def test_an_operator_watches_dismisses_and_draws_zones(page: Any, server: ServerProcess) -> None:
    run = server.home / "server" / "runs" / "night"
    if not run.exists():
        write_clip_run(run)
    page.goto("/watch/night")
    alert = page.locator(".alerts li").first
    alert.get_by_role("button", name="Not worth watching").click()
    page.locator("#said").get_by_text("stored as case:").wait_for()
    page.goto("/rules?profile=tiles")
    page.get_by_label("It says").fill("a spot is on the tile")
    page.get_by_role("button", name="What would have changed?").click()
    page.locator("#effect p").first.wait_for(timeout=120_000)
    page.locator("#rule-form").get_by_role("button", name="Save").click()
    page.get_by_text("a spot is on the tile").first.wait_for()


def test_an_auditor_finds_verifies_takes_again_and_exports(page: Any, hole: Path) -> None:
    inspect(page, hole)
    page.goto("/audit?label=anomalous")
    page.get_by_role("button", name="Verify the log").click()
    page.get_by_text("Sound.").wait_for(timeout=120_000)
    page.locator("#log tbody input").first.check()
    page.get_by_role("button", name="Take again").click()
    page.locator("#replayed").get_by_text("equal").wait_for(timeout=120_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "audit-bundle.zip"
    page.locator("#log tbody a").first.click()
    page.get_by_role("link", name="The decision page").click()
    page.get_by_text("From pixels to label").wait_for(timeout=120_000)


def test_an_auditor_reviews_a_run_by_keyboard(page: Any, hole: Path) -> None:
    inspect(page, hole)
    page.goto("/audit")
    page.get_by_role("button", name="Begin").click()
    page.get_by_role("heading", name="What does it show?").wait_for()
    assert page.locator("main").get_by_text("anomalous", exact=True).count() == 0, "the verdict is not told"
    for _ in range(30):
        if page.locator("#done").is_visible():
            break
        asked = page.locator("#review").get_attribute("data-next")
        page.keyboard.press("a")
        page.wait_for_function(
            "before => document.querySelector('#review').dataset.next !== before", arg=asked
        )
    page.locator("#done").wait_for()


def test_by_keyboard_alone(page: Any, hole: Path) -> None:
    inspect(page, hole)
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    names = []
    for _ in range(14):
        page.keyboard.press("Tab")
        names.append(page.evaluate(FOCUSED))
    for wanted in ("Learn", "Audit", "profile", "pictures", "text"):
        assert wanted in names, names


def test_axe_finds_nothing_serious_and_a_phone_scrolls_one_way(page: Any, hole: Path) -> None:
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    inspect(page, hole)
    details = page.locator("#list tbody a").first.get_attribute("href")
    entry = "/audit/1"
    for path in ("/", details, "/learn", "/watch", "/rules?profile=tiles", "/audit", entry, "/accounts"):
        page.set_viewport_size({"width": 1200, "height": 900})
        page.goto(path)
        page.evaluate(axe)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            serious = [
                (path, scheme, each["id"], [node["html"][:120] for node in each["nodes"]][:3])
                for each in found["violations"]
                if each["impact"] in ("serious", "critical")
            ]
            assert serious == []
        page.set_viewport_size(PHONE)
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path


def test_of_a_folder_of_products_what_is_named_like_a_picture_is_sent_and_the_rest_is_told(
    page: Any, server: ServerProcess, tmp_path: Path
) -> None:
    pictures, others = ("housing/1.mpo", "housing/2.TIF", "cover/1.bmp"), ("cover/3.heic", ".cache/4.png")
    for name in (*pictures, *others):
        (tmp_path / "goods" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "goods" / name).write_bytes(name.encode())
    page.goto("/learn")
    form = page.locator("#learn")
    form.get_by_label("Name", exact=True).fill("größe ที่")
    form.get_by_label("Several products").check()
    page.set_input_files("#normals", str(tmp_path / "goods"))
    hint = page.locator("#normals-hint").inner_text()
    assert hint.startswith("3 chosen.")
    assert [name for name in (*pictures, *others) if name in hint] == [*others]
    form.get_by_role("button", name="Learn", exact=True).click()
    form.locator(".outcome").get_by_text("too few pictures").wait_for(timeout=30_000)
    (sent,) = (server.home / "server" / "uploads" / "products").iterdir()
    kept = [f"{path.parent.name}/{path.name.partition('-')[2]}" for path in sent.glob("*/*")]
    assert sorted(kept) == sorted(pictures)


def test_of_each_product_it_is_told_what_was_skipped(page: Any) -> None:
    common = {"pictures": 2, "lowest_rate": 0.3, "summary": "", "outliers": []}
    products = [common | {"name": name, "skipped": [f"{name}/9.png: damaged"]} for name in ("lid", "box")]
    result = {"name": "line", "products": products}
    job = {"id": "1", "state": "done", "progress": {}, "error": "", "result": result}
    told = f"event: job\ndata: {json.dumps(job)}\n\n"
    page.route("**/v1/jobs/learn-products", lambda route: route.fulfill(status=202, json=job))
    page.route(
        "**/v1/jobs/1/events", lambda route: route.fulfill(content_type="text/event-stream", body=told)
    )
    page.goto("/learn")
    form = page.locator("#learn")
    form.get_by_label("Name", exact=True).fill("line")
    form.get_by_label("Several products").check()
    form.get_by_role("button", name="Learn", exact=True).click()
    form.get_by_text("line is learned").wait_for()
    for name in ("lid", "box"):
        assert form.get_by_text(f"{name}/9.png: damaged").count() == 1


def make_account(home: Path, name: str, role: str) -> None:
    words = ("accounts", "add", name, "--role", role, "--password", PASSWORD)
    assert run(*words, ANOMALIST_HOME=str(home)).returncode == 0


def test_an_admin_makes_an_account_disables_it_and_makes_a_key(browser: Any, tmp_path: Path) -> None:
    make_account(tmp_path / "home", "root", "admin")
    with running(tmp_path / "home") as server:
        context = browser.new_context(base_url=server.address)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto("/login")
        page.get_by_label("Name").fill("root")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("link", name="Accounts").click()
        page.wait_for_load_state("load")  # before, a click does nothing, see the next test
        form = page.locator("#new-account")
        form.get_by_label("Name").fill("otto")
        form.get_by_label("First password").fill(PASSWORD)
        form.get_by_role("button", name="Make the account").click()
        page.get_by_label("Role of otto").select_option("viewer")
        page.get_by_text("otto is viewer now.").wait_for()
        page.get_by_role("button", name="New password for otto").click()
        page.locator("dialog").get_by_label("ends every login").fill(f"{PASSWORD} 2")
        page.get_by_role("button", name="Set it").click()
        page.get_by_text("otto has a new password.").wait_for()
        page.get_by_role("button", name="Disable otto").click()
        page.get_by_role("button", name="Enable otto").wait_for()
        page.locator("#new-key").get_by_label("Name").fill("line-3")
        page.get_by_role("button", name="Make a key").click()
        key = page.locator(".key").inner_text()
        me = server.client.get("/v1/me", headers={"authorization": f"Bearer {key}"}).json()
        assert (me["name"], me["role"]) == ("line-3", "operator")
        body = {"name": "otto", "password": f"{PASSWORD} 2"}
        assert server.client.post("/v1/login", json=body).json()["error"] == "This account is disabled."
        context.close()


def test_what_is_sent_before_the_scripts_are_there_is_in_no_address(page: Any) -> None:
    page.route(re.compile(r"\.js(\?|$)"), lambda route: route.abort())
    for path, form in (("/accounts", "#new-account"), ("/accounts", "#new-key"), ("/learn", "#learn-scene")):
        page.goto(path)
        address = page.url
        for field in page.locator(f"{form} input[type=text], {form} input[type=password]").all():
            field.fill("correct horse battery")
        page.evaluate("form => document.querySelector(form).submit()", form)
        page.wait_for_timeout(200)
        assert page.url == address


def test_a_login_page_stands_before_a_server_with_accounts(browser: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_account(home, "vera", "viewer")
    with running(home) as server:
        context = browser.new_context(base_url=server.address)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto("/")
        page.get_by_label("Name").fill("vera")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_role("heading", name="Inspect", exact=True).wait_for()
        assert page.get_by_role("link", name="Audit").count() == 0
        page.get_by_role("button", name="Log out").click()
        page.get_by_role("heading", name="Log in").wait_for()
        context.close()
