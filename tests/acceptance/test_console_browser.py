"""The console as a person meets it: in a browser, with a device that learns meanwhile.

No page may complain, ask elsewhere, or have what axe-core calls serious.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from playwright.sync_api import expect
from stable_baselines3 import DQN

from hub import control
from hub.registry.key_acts import CreateKey, RevokeKey
from hub.registry.rewarding import rewarding
from hub.registry.user_acts import RemoveUser
from hub.simulate.exchange import Endpoint
from hub.simulate.over_http import HttpExchange
from hub.words import DeviceId
from tests.acceptance.chromium import Browser, needed, opened, saved
from tests.acceptance.devices import Walker
from tests.acceptance.people import add_user
from tests.acceptance.real_hub import HOST, RealHub, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import FilePayload, Route

ADMIN: Final = "root"
SETTINGS: Final = "[console]\nlive_s = 0.5\nupload_mb_max = 1\n"
WIDTH_PHONE: Final = 390
REST_S: Final = 0.01
LEARN_S_MAX: Final = 90.0
"""An episode takes ten seconds while the fallback answers at each deadline."""
PAGES: Final = (
    "/agents", "/agents/cart", "/agents/cart/policies", "/agents/cart/edit", "/agents/cart/connect",
    "/devices", "/mappings", "/mappings/try", "/keys", "/users", "/log", "/trail", "/algorithms",
    "/health", "/account", "/new-agent",
)  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[RealHub]:
    """A hub with an admin."""
    needed(pytestconfig)
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data", SETTINGS)
    hub.start()
    add_user(hub, ADMIN, "admin")
    yield hub
    hub.end()


@pytest.fixture(scope="module")
def cart_key(hub: RealHub) -> str:
    """The key of an agent `cart`, made by the form."""
    with opened() as browser:
        page = browser.page
        browser.log_in(hub, ADMIN)
        page.get_by_role("link", name="Make the first one").click()
        expect(page.locator("select[data-htmx-powered]")).to_have_count(1)  # its scripts are there
        page.get_by_label("Name").first.fill("cart")
        page.locator("select[name=algorithm]").select_option("DQN")
        expect(page.get_by_label("buffer_size")).to_be_visible()  # of DQN, not of PPO
        page.get_by_label("learning_starts").fill("64")
        observations = page.get_by_label("Observations: ")
        observations.fill("[[4], 5, 1]")
        expect(page.locator("#observations-said")).to_contain_text("low must be below its high")
        observations.fill('[[4], "-inf", "inf"]')
        expect(page.locator("#observations-said")).to_contain_text("Box, 4 numbers")
        page.get_by_role("button", name="Make the agent").click()
        expect(page.locator("#heard")).to_contain_text("waiting")
        key = page.locator("#secret").input_value()
        assert key in page.locator("pre").nth(2).inner_text()
        with walker(hub, key, "cart-1"):
            expect(page.locator("#heard")).to_contain_text("cart-1 speaks to agent cart")
        assert browser.complaints == []
    return key


def walker(hub: RealHub, key: str, device: str) -> Walker:
    return Walker(
        device, HttpExchange(DeviceId(device), key, Endpoint(HOST, hub.ready.http)), REST_S
    )


def version(hub: RealHub) -> int:
    """Of the policy that acts; 0 before any."""
    return int(hub.ask(control.Show("agent", "cart"))["policy"] or 0)


def points(browser: Browser) -> int:
    """Episodes in the curve."""
    return int(browser.page.locator("#curve").get_attribute("data-points") or 0)


def test_the_curve_grows_while_a_device_learns(hub: RealHub, cart_key: str) -> None:
    with opened() as browser, walker(hub, cart_key, "cart-2"):
        browser.log_in(hub, ADMIN)
        browser.page.get_by_role("link", name="cart", exact=True).click()
        until(lambda: points(browser) > 0, "the first episode", timeout_s=LEARN_S_MAX)
        before = points(browser)
        until(lambda: points(browser) > before + 2, "more, by themselves", timeout_s=LEARN_S_MAX)
        expect(browser.page.locator("#devices")).to_contain_text("online")
        browser.page.get_by_label("by device").check()
        expect(browser.page.locator(".u-legend")).to_contain_text("cart-2")
        assert browser.complaints == []


def test_a_zip_is_loaded_by_sb3_and_an_older_version_acts_again(
    hub: RealHub, cart_key: str, tmp_path: Path
) -> None:
    with opened() as browser, walker(hub, cart_key, "cart-1"):
        page = browser.page
        browser.log_in(hub, ADMIN)
        until(lambda: version(hub) >= 2, "versions", timeout_s=LEARN_S_MAX)
        browser.go(hub, "/agents/cart/policies")
        file = saved(page, "Version 1 as ZIP", tmp_path)
        assert file.name == "cart-v1.zip"
        action, _ = DQN.load(file, device="cpu").predict(np.zeros(4, np.float32))
        assert action in (0, 1)
        page.get_by_role("button", name="Roll back to version 1", exact=True).click()
        expect(page.get_by_role("status")).to_contain_text("Version 1 acts again")
        by = hub.sql("SELECT operator FROM operators WHERE act = 'policy_chosen'")
        assert [row["operator"] for row in by] == [ADMIN]
        assert browser.complaints == []


def test_restart_asks_first_and_begins_anew(hub: RealHub, cart_key: str) -> None:
    seed = hub.ask(control.Show("agent", "cart"))["seed"]
    with opened() as browser:
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/agents/cart")
        browser.page.get_by_role("button", name="Restart").click()
        expect(browser.page.get_by_role("status")).to_contain_text("begins anew")
        assert browser.complaints == []
    assert hub.ask(control.Show("agent", "cart"))["seed"] != seed


def test_another_owner_sees_nothing(hub: RealHub, cart_key: str) -> None:
    add_user(hub, "mallory")
    with opened() as browser:
        browser.log_in(hub, "mallory")
        for path in ("/agents", "/devices", "/keys", "/log", "/trail"):
            browser.go(hub, path)
            assert "cart" not in browser.page.locator("main").inner_text(), path
        browser.go(hub, "/log")
        browser.page.get_by_label("A query in SQL").fill("SELECT count(*) AS n FROM events")
        browser.page.get_by_role("button", name="Ask").click()
        expect(browser.page.get_by_label("Result")).to_contain_text("1 row")
        expect(browser.page.locator("tbody td")).to_have_text("0")
        assert browser.complaints == []


def test_a_number_without_measure_is_short_in_a_chart(hub: RealHub) -> None:
    with opened() as browser:
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/log")
        enormous = "SELECT i, 1e30 AS much FROM range(3) AS r(i)"
        browser.page.get_by_label("A query in SQL").fill(enormous)
        browser.page.get_by_role("button", name="Ask").click()
        browser.page.locator("#chart .u-over").hover()
        expect(browser.page.locator("#chart .u-legend")).to_contain_text("1e+30")
        assert browser.page.locator("#chart .u-axis").last.bounding_box()["width"] < 100  # type: ignore[index]  # it is visible
        assert browser.complaints == []


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (WIDTH_PHONE, "dark")])
def test_every_page_fits_and_has_nothing_that_keeps_people_out(
    hub: RealHub, cart_key: str, width: int, scheme: str
) -> None:
    with opened(width=width, scheme=scheme) as browser:
        browser.go(hub, "/login")
        found = browser.violations()
        browser.log_in(hub, ADMIN)
        for path in PAGES:
            browser.go(hub, path)
            found += browser.violations()
            wide = browser.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} wide"
        ends = "all => all.map(one => one.getBoundingClientRect().right)"
        assert max(browser.page.eval_on_selector_all(".bar nav a", ends)) <= width, "it is cut"
        assert found == []
        assert browser.complaints == []


def test_forms_work_without_scripts(hub: RealHub, cart_key: str) -> None:
    with opened(scripts=False) as browser:
        page = browser.page
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/new-agent")
        page.get_by_label("Name").first.fill("plain")
        page.locator("select[name=algorithm]").select_option("SAC")
        page.get_by_label("Actions: ").fill("[[1], -2.0, 2.0]")
        page.get_by_role("button", name="Show this algorithm's parameters").click()
        page.get_by_label("buffer_size").fill("5000")
        page.get_by_role("button", name="Make the agent").click()
        expect(page.get_by_role("status")).to_contain_text("Agent plain is there")
    made = hub.ask(control.Show("agent", "plain"))
    assert made["algorithm"] == "SAC"
    assert made["parameters"] == {"buffer_size": "5000"}


def test_a_mistake_is_shown_at_its_field_and_what_was_typed_stays(
    hub: RealHub, cart_key: str
) -> None:
    with opened() as browser:
        page = browser.page
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/new-agent")
        page.get_by_label("Name").first.fill("second")
        page.get_by_label("gamma", exact=True).fill("7")
        page.get_by_role("button", name="Make the agent").click()
        expect(page.get_by_role("alert")).to_contain_text("gamma")
        expect(page.get_by_label("gamma", exact=True)).to_be_focused()
        expect(page.get_by_label("gamma", exact=True)).to_have_value("7")
        expect(page.get_by_label("Name").first).to_have_value("second")
        assert browser.violations() == []


def test_a_file_that_is_too_large_is_said_where_it_was_chosen(hub: RealHub, cart_key: str) -> None:
    file: FilePayload = {"name": "big.zip", "mimeType": "application/zip", "buffer": bytes(3 << 20)}
    with opened() as browser:
        page = browser.page
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/agents/cart/policies")
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_role("button", name="Let it act").click()
        expect(page.get_by_role("alert")).to_contain_text("the file has over 1 MB")
        assert browser.complaints == []


def test_somebody_who_was_removed_is_shown_out_of_an_open_page(hub: RealHub, cart_key: str) -> None:
    add_user(hub, "leaving", "admin")
    with opened() as browser:
        browser.log_in(hub, "leaving")
        expect(browser.page.locator("#agents.stale")).to_have_count(0)
        hub.ask(RemoveUser("leaving"))
        expect(browser.page.locator("#agents.stale")).to_have_count(1)


def test_a_page_is_live_although_a_script_comes_late(hub: RealHub, cart_key: str) -> None:
    with opened() as browser:
        held: list[Route] = []
        browser.log_in(hub, ADMIN)
        browser.page.route("**/hx-sse.min.js", lambda route: held.append(route))
        with browser.page.expect_request("**/live/agents"):
            browser.page.goto(browser.page.url, wait_until="commit")
            until(lambda: browser.page.evaluate("!!window.htmx"), "htmx itself is there")
            held[0].continue_()
        assert browser.complaints == []


def test_a_person_rewards_a_device_from_a_phone_and_a_revoked_link_says_so(
    hub: RealHub, cart_key: str
) -> None:
    with walker(hub, cart_key, "cart-5"), opened() as desk:
        desk.log_in(hub, ADMIN)
        desk.go(hub, "/keys")
        form = desk.page.locator("section.card", has_text="For a person's reward")
        form.get_by_label("Device").fill("cart-5")
        form.get_by_role("button", name="Make a link").click()
        link = desk.page.locator("#secret").input_value()
    with opened(width=WIDTH_PHONE) as phone:
        page = phone.page
        page.goto(link.replace("#", "#abc%zz"))
        expect(page.get_by_role("status")).to_contain_text("This link is not whole")
        page.goto(link)  # only what is behind the # changes
        expect(page.get_by_role("status")).to_contain_text("a press counts as +1 or −1")
        page.get_by_role("button", name="Good").click()
        expect(page.get_by_role("status")).to_contain_text("Good: noted as +1.")
        assert phone.violations() == []
        given = "SELECT reward FROM events WHERE kind = 'reward' AND device = 'cart-5'"
        assert hub.sql(given) == [{"reward": 1.0}]
        made = hub.ask(CreateKey("cart", "cart-5", rewarding=rewarding(0.25)))
        page.goto(made["link"])
        expect(page.get_by_role("status")).to_contain_text("+0.25 or −0.25")
        page.get_by_role("button", name="Bad").click()
        expect(page.get_by_role("status")).to_contain_text("Bad: noted as −0.25.")
        assert hub.sql(given) == [{"reward": 1.0}, {"reward": -0.25}]
        assert phone.complaints == []
        page.goto(link)
        hub.ask(RevokeKey(link.partition("#")[2].partition(".")[0]))
        page.get_by_role("button", name="Bad").click()
        expect(page.get_by_role("status")).to_contain_text("not accepted any more")
        assert hub.value(f"SELECT count(*) FROM ({given})") == 2


def test_a_claim_token_is_made_and_revoked_on_the_page_of_the_keys(
    hub: RealHub, cart_key: str
) -> None:
    del cart_key
    with opened() as browser:
        page = browser.page
        browser.log_in(hub, ADMIN)
        browser.go(hub, "/keys")
        form = page.locator("section.card", has_text="For devices that fetch theirs")
        form.get_by_label("Devices").fill("5")
        form.get_by_label("Ids begin").fill("cart-")
        form.get_by_role("button", name="Make a claim token").click()
        claim = page.locator("#secret").input_value().partition(".")[0]
        claims = page.get_by_label("Claim tokens")
        expect(claims).to_contain_text("0 of 5")
        expect(claims.locator(".of")).to_have_text("devices cart-…")  # on a line of its own
        assert browser.violations() == []
        claims.get_by_role("button", name="Revoke").click()
        expect(page.get_by_role("status")).to_contain_text(claim)
        expect(claims).to_have_count(0)
        assert browser.complaints == []
