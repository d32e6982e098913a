"""The page in a real browser: search, filter, sort, copy, keyboard, print, no script, no network.

Runs where Chromium and its driver are; elsewhere it is skipped with the reason, unless
REQUIRE_BROWSER=1 says that it must run.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from partner_tools.intake.schema import checker
from partner_tools.report.handoff import Document
from partner_tools.report.page import STATIC_DEVICES, Handoff
from tests.browser import Driver, opened_browser
from tests.report import fleet

pytestmark = [pytest.mark.slow, pytest.mark.browser]

MANY = 10_000


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    """One browser for all of these tests."""
    logs = {"goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    with opened_browser(logs) as browser:
        browser.set_script_timeout(120)
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a fleet's page, written once."""
    folder = tmp_path_factory.mktemp("pages")
    fleets: dict[str, Callable[[], Document]] = {
        "mixed": lambda: fleet.handoff(fleet.mixed()),
        "few": lambda: fleet.handoff([fleet.mixed()[place] for place in (1, 8, 9, 10)]),
        "hostile": lambda: fleet.handoff(fleet.hostile()),
        "many": many_devices,
        "three hundred": lambda: fleet.handoff(
            [*fleet.mixed(), *list(fleet.large(300 - len(fleet.mixed())))]
        ),
    }

    def path_of(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            with path.open("wb") as stream:
                stream.write(Handoff(fleets[name]()).page)
        return path

    return path_of


@pytest.fixture
def visit(driver: Driver, pages: Callable[[str], Path]) -> Iterator[Callable[..., Driver]]:
    """Open a fleet's page; afterwards nothing may stand in the browser's console."""

    def visiting(
        name: str = "mixed", *, width: int = 1440, script: bool = True, dark: bool = False
    ) -> Driver:
        metrics = {
            "width": width,
            "height": 900,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        }
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme], "media": ""})
        driver.get_log("performance")
        driver.get(pages(name).as_uri())
        return driver

    yield visiting
    assert [] == [entry["message"] for entry in driver.get_log("browser")]
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def serials(driver: Driver) -> list[str]:
    """The serial numbers that the table shows, from top to bottom."""
    found: list[str] = driver.execute_script(
        "return [...document.querySelectorAll('#table tbody .serial')].map(it => it.textContent)"
    )
    return found


def until(shown: Callable[[], bool]) -> bool:
    """Whether the page shows it, at once or within twenty seconds."""
    deadline = time.monotonic() + 20
    while not shown():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def choose(driver: Driver, control: str, value: str) -> None:
    """Choose in one of the filters, as a reader would."""
    from selenium.webdriver.support.ui import Select

    Select(driver.find_element("id", control)).select_by_value(value)


def found_line(driver: Driver) -> str:
    """What the page says of how many devices match."""
    return str(driver.find_element("id", "found").text)


def expected_serials(document: Document, wanted: Callable[[dict[str, Any]], bool]) -> list[str]:
    """The serial numbers of the document's devices that are wanted."""
    return [one["serialNumber"] for one in document["devices"] if wanted(one)]


MIXED = fleet.handoff(fleet.mixed())
ALL = len(MIXED["devices"])


@cache
def many_devices() -> Document:
    """A handoff that a browser could not show as markup."""
    return fleet.handoff(fleet.large(MANY))


def has_step(step: str) -> Callable[[dict[str, Any]], bool]:
    """Whether a device lists a step."""
    return lambda device: any(one["id"] == step for one in device["steps"])


def test_search_finds_serial_model_and_ids(visit: Callable[..., Driver]) -> None:
    driver = visit()
    assert found_line(driver) == f"{ALL} devices"
    target = MIXED["devices"][5]
    box = driver.find_element("id", "query")
    for text in (
        target["serialNumber"].lower(),
        target["planes"]["intune"]["ids"]["id"],
        target["correlationId"],
    ):
        box.clear()
        box.send_keys(text)
        assert serials(driver) == [target["serialNumber"]]
        assert found_line(driver) == f"1 of {ALL} devices"
    box.clear()
    box.send_keys("elitebook 840")
    assert len(serials(driver)) > 1
    box.send_keys(" no such thing")
    assert driver.find_element("id", "none").is_displayed()


@pytest.mark.parametrize(
    ("choices", "wanted"),
    [
        ({"by-step": "delete-from-intune"}, has_step("delete-from-intune")),
        (
            {"by-step": "delete-from-intune", "by-status": "not-verified"},
            lambda device: any(
                one["id"] == "delete-from-intune" and one["status"] == "not-verified"
                for one in device["steps"]
            ),
        ),
        (
            {"by-plane": "intune", "by-status": "not-verified"},
            lambda device: device["planes"]["intune"]["status"] == "not-verified",
        ),
        (
            {"by-plane": "active-directory"},
            lambda device: any(one["plane"] == "active-directory" for one in device["steps"]),
        ),
        ({"by-outcome": "not-found"}, lambda device: device["outcome"] == "not-found"),
    ],
)
def test_filters(
    visit: Callable[..., Driver],
    choices: dict[str, str],
    wanted: Callable[[dict[str, Any]], bool],
) -> None:
    driver = visit()
    for control, value in choices.items():
        choose(driver, control, value)
    assert expected_serials(MIXED, wanted) == serials(driver)
    driver.find_element("id", "show-all").click()
    assert until(lambda: len(serials(driver)) == ALL)


def test_columns_sort_both_ways_and_say_so(visit: Callable[..., Driver]) -> None:
    driver = visit()
    [button] = [
        one for one in driver.find_elements("css selector", "#table thead button")
        if one.text.startswith("Device")
    ]  # fmt: skip
    head = button.find_element("xpath", "..")
    button.click()
    ascending = serials(driver)
    assert head.get_attribute("aria-sort") == "ascending"
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert list(reversed(ascending)) == serials(driver)
    assert sorted(ascending) == sorted(expected_serials(MIXED, lambda _: True))


def test_the_guide_leads_to_the_devices_of_a_step(visit: Callable[..., Driver]) -> None:
    driver = visit()
    button = driver.find_element("css selector", '.show[data-step="delete-computer-object"]')
    driver.execute_script("arguments[0].click()", button)
    wanted = expected_serials(MIXED, has_step("delete-computer-object"))
    assert until(lambda: wanted == serials(driver))
    assert driver.switch_to.active_element.get_attribute("id") == "devices"


def test_details_open_with_the_keyboard_and_give_the_focus_back(
    visit: Callable[..., Driver],
) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit()
    first = driver.find_element("css selector", "#table .open-device")
    first.send_keys(Keys.ARROW_DOWN)
    second = driver.switch_to.active_element
    assert MIXED["devices"][1]["serialNumber"] in str(second.get_attribute("aria-label"))
    second.send_keys(Keys.ENTER)
    sheet = driver.find_element("id", "sheet")
    assert sheet.get_attribute("open") is not None
    text = sheet.text
    for step in MIXED["devices"][1]["steps"]:
        assert step["command"] in text.replace("\n", " ")
    assert MIXED["devices"][1]["correlationId"] in text
    for plane in MIXED["devices"][1]["planes"].values():
        for name, value in {**plane.get("ids", {}), **plane.get("details", {})}.items():
            spelled = {"id": "Id", "True": "yes"}
            assert f"{spelled.get(name, name)}\n{spelled.get(str(value), value)}" in text
    driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert sheet.get_attribute("open") is None
    assert driver.switch_to.active_element == second
    second.send_keys(Keys.END)
    assert MIXED["devices"][-1]["serialNumber"] in str(
        driver.switch_to.active_element.get_attribute("aria-label")
    )


def _says_copied(button: Any) -> bool:
    return bool(button.text == "Copied")


def test_a_command_is_copied_exactly(visit: Callable[..., Driver]) -> None:
    driver = visit()
    driver.execute_cdp_cmd(
        "Browser.grantPermissions",
        {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]},
    )
    driver.find_element("css selector", "#table .open-device").click()
    copies = driver.find_elements("css selector", "#sheet .command .copy")
    wanted = [step["command"] for step in MIXED["devices"][0]["steps"] if step["command"]]
    assert len(copies) == len(wanted)
    for button, text in zip(copies, wanted, strict=True):
        button.click()
        assert until(partial(_says_copied, button))
        read = driver.execute_async_script(
            "navigator.clipboard.readText().then(arguments[0], it => arguments[0](String(it)))"
        )
        assert text == read


def test_without_script_everything_is_there_and_nothing_dead(
    visit: Callable[..., Driver],
) -> None:
    driver = visit(script=False)
    text = driver.find_element("tag name", "body").text
    for device in MIXED["devices"]:
        assert device["serialNumber"] in text
        for step in device["steps"]:
            assert step["command"] is None or step["command"] in text
    controls = driver.find_elements("css selector", "button, input, select")
    assert not [one for one in controls if one.is_displayed()]


@pytest.mark.parametrize("name", ["mixed", "hostile"])
def test_no_request_leaves_the_page(visit: Callable[..., Driver], name: str) -> None:
    driver = visit(name)
    for button in driver.find_elements("css selector", "#table .open-device")[:3]:
        driver.execute_script("arguments[0].click()", button)
        driver.execute_script("document.getElementById('sheet').close()")
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert [driver.current_url] == asked


def test_an_enemys_names_run_nothing(visit: Callable[..., Driver]) -> None:
    driver = visit("hostile")
    document = fleet.handoff(fleet.hostile())
    for place, device in enumerate(document["devices"]):
        driver.execute_script(
            "document.querySelectorAll('#table .open-device')[arguments[0]].click()", place
        )
        made = driver.execute_script(
            "return [...document.querySelectorAll('#sheet *')].map(it => it.tagName.toLowerCase())"
        )
        assert not set(made) & {"script", "img", "b", "a", "iframe"}, device["row"]
        driver.execute_script("document.getElementById('sheet').close()")
    assert driver.execute_script("return typeof alerted") == "undefined"


@pytest.mark.parametrize("width", [320, 390, 768, 1440])
def test_nothing_is_wider_than_the_window(visit: Callable[..., Driver], width: int) -> None:
    for name in ("mixed", "hostile"):
        driver = visit(name, width=width)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width


AXE = "axe_playwright_python"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("part", ["page", "sheet", "static"])
def test_an_accessibility_checker_finds_nothing(
    visit: Callable[..., Driver], part: str, width: int, dark: bool
) -> None:
    if os.environ.get("REQUIRE_BROWSER") != "1":
        pytest.importorskip(AXE, reason="axe-core is not installed")
    driver = visit("few", width=width, dark=dark)
    if part == "sheet":
        driver.find_element("css selector", "#table .open-device").click()
    if part == "static":
        driver.execute_script(
            "document.documentElement.classList.remove('js');"
            "document.getElementById('explorer').hidden = true"
        )
    driver.execute_script((files(AXE) / "axe.min.js").read_text(encoding="utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    results = driver.execute_async_script(
        "axe.run(document, {runOnly: arguments[0]}).then(arguments[1])", rules
    )
    problems = [
        (one["id"], [node["html"][:120] for node in one["nodes"]]) for one in results["violations"]
    ]
    assert [] == problems
    assert len(results["passes"]) > 20


def rows_alive(driver: Driver) -> list[int]:
    """Which rows of the table the document holds, by their place in it."""
    found: list[int] = driver.execute_script(
        "return [...document.querySelectorAll('#table tbody tr[data-at]')]"
        ".map(it => Number(it.dataset.at))"
    )
    return found


def test_many_devices_open_filter_and_keep_few_rows_alive(visit: Callable[..., Driver]) -> None:
    driver = visit("many")
    assert found_line(driver) == f"{MANY:,} devices"
    alive = "return document.querySelectorAll('#table tbody tr[data-at]').length"
    assert 0 < driver.execute_script(alive) < 120
    driver.execute_script("window.scrollTo(0, document.documentElement.scrollHeight * .7)")
    assert until(lambda: rows_alive(driver)[0] > 1_000)
    rows = rows_alive(driver)
    assert rows == list(range(rows[0], rows[0] + len(rows)))
    assert len(rows) < 120
    last = many_devices()["devices"][-1]["serialNumber"]
    box = driver.find_element("id", "query")
    box.send_keys(last)
    assert serials(driver) == [last]
    assert found_line(driver) == f"1 of {MANY:,} devices"


def test_the_keyboard_reaches_rows_that_do_not_exist_yet(visit: Callable[..., Driver]) -> None:
    from selenium.webdriver.common.keys import Keys

    driver = visit("many")
    driver.find_element("css selector", "#table .open-device").send_keys(Keys.END)
    line = driver.switch_to.active_element.find_element("xpath", "ancestor::tr")
    assert line.get_attribute("aria-rowindex") == str(MANY + 1)
    assert driver.find_element("id", "table").get_attribute("aria-rowcount") == str(MANY + 1)


def test_many_devices_without_script_show_exceptions_and_say_where_the_rest_is(
    visit: Callable[..., Driver],
) -> None:
    driver = visit("many", script=False)
    shown = driver.find_elements("css selector", "#static tbody")
    assert 0 < len(shown) <= STATIC_DEVICES
    assert "workbook" in driver.find_element("css selector", ".partly").text


def test_it_prints_clean(visit: Callable[..., Driver], tmp_path: Path) -> None:
    """The printed page has no controls, and every device whole."""
    driver = visit()
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    (tmp_path / "page.pdf").write_bytes(base64.b64decode(printed["data"]))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": []})
    controls = driver.find_elements("css selector", "button, input, select")
    assert not [one for one in controls if one.is_displayed()]
    text = driver.find_element("id", "static").text
    assert all(device["serialNumber"] in text for device in MIXED["devices"])
    heads = driver.execute_script(
        "return getComputedStyle(document.querySelector('.plain thead')).display"
    )
    assert heads == "table-header-group"
    assert (tmp_path / "page.pdf").stat().st_size > 20_000
    below = driver.execute_script(
        "return ['.first', '.guide', '.guide .step:last-child']"
        ".map(it => getComputedStyle(document.querySelector(it)).paddingBottom)"
    )
    assert below == ["0px"] * 3  # else a last step that fills its page is followed by a blank one


def test_three_hundred_mixed_devices_print_on_ten_pages(visit: Callable[..., Driver]) -> None:
    """One line a device; with their details, on request, they need many more."""
    driver = visit("three hundred")

    def printed() -> int:
        pdf = driver.execute_cdp_cmd(
            "Page.printToPDF", {"preferCSSPageSize": True, "paperWidth": 8.27, "paperHeight": 11.69}
        )
        return len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(pdf["data"])))

    assert 3 < printed() <= 10
    driver.find_element("id", "print-details").click()
    assert printed() > 30


def test_ticks_survive_the_page_and_are_saved_as_a_results_file(
    visit: Callable[..., Driver], tmp_path: Path
) -> None:
    driver = visit()
    driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    driver.execute_script("localStorage.clear()")
    keys = next(one for one in MIXED["guide"] if one["id"] == "back-up-keys")
    selector = ".tick [data-step='back-up-keys']"
    box = driver.find_element("css selector", selector)
    assert "Saved for all" in box.find_element("xpath", "..").text
    box.click()
    driver.refresh()
    assert driver.find_element("css selector", selector).is_selected()
    assert driver.find_element("id", "ticked").text.startswith(f"{keys['open']} of ")
    driver.find_element("id", "save-results").click()
    assert until(lambda: any(tmp_path.glob("*.json")))
    (file,) = tmp_path.glob("*.json")
    result = json.loads(file.read_text(encoding="utf-8"))

    assert file.name == "handoff-result-contoso.com-20261123-090000-k3f9.json"
    assert checker("handoff-result").violations(result) == ()
    assert result["answers"] == Handoff(MIXED).answers
    assert result["by"]["tool"] == "page"
    assert len(result["devices"]) == keys["open"]
    assert {step["id"] for one in result["devices"] for step in one["steps"]} == {"back-up-keys"}
    driver.find_element("id", "clear-ticks").click()
    assert not driver.find_element("css selector", selector).is_selected()
    assert driver.execute_script("return localStorage.length") <= 1


def test_ten_thousand_devices_filter_within_a_blink(visit: Callable[..., Driver]) -> None:
    """Each keystroke's own work, by the page's clock; the window is not drawn in between."""
    driver = visit("many")
    spent = driver.execute_script(
        "const box = document.getElementById('query'), spent = [];"
        "for (const text of ['5', '5c', '5cd', '5cd1', 'lat', 'latitude 5430', '']) {"
        "  box.value = text; const before = performance.now();"
        "  box.dispatchEvent(new Event('input')); spent.push(performance.now() - before); }"
        "return spent"
    )
    assert max(spent) < 200, spent
