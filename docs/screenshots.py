"""Makes `docs/images/` anew: `make screenshots`. Needs Chromium and its driver.

The demo removes the sample's devices from a sandbox in its own process and writes the report and
the summary that are shown; nothing in the pictures is drawn by hand. What the pictures show of
run ids and dates is of the day when they were made.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from partner_tools.cli import main
from partner_tools.cli.commands.demo import CUSTOMER, SAMPLE
from partner_tools.sandbox import Sandbox, shipped_seed

IMAGES = Path(__file__).resolve().parent / "images"
BATCH = Path(__file__).resolve().parents[1] / "samples" / SAMPLE
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDE = (1200, 900)
PHONE = (390, 844)
COLOURS = 128
"""Enough for pages of text and a few flat colours; a third of the bytes of full colour."""


def main_program() -> None:
    """Write the four pictures."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, browser() as driver:
        handoff, summary = pages(Path(folder))
        for name, page, size, scheme in (
            ("handoff-light", handoff, WIDE, "light"),
            ("handoff-dark", handoff, WIDE, "dark"),
            ("handoff-phone", handoff, PHONE, "light"),
            ("summary", summary, WIDE, "light"),
        ):
            save(picture(driver, page, size, scheme), IMAGES / f"{name}.png")


def pages(folder: Path) -> tuple[Path, Path]:
    """Remove the sample's devices in a sandbox; the handoff and the summary that come of it."""
    with Sandbox(shipped_seed()) as sandbox:
        environment = {**sandbox.announce()["environment"]}
        environment["PARTNER_TOOLS_LEDGER"] = str(folder / "ledger.db")
        run(
            environment,
            *("deregister", str(BATCH), "--via", "partner-center", "--customer", CUSTOMER),
            *("--reason", "end-of-life", "--yes", "--settle", "5", "--report", str(folder)),
        )
        run(environment, "report", "--summary", "-o", str(folder / "summary"), "--format", "html")
    (handoff,) = folder.glob("handoff-*.html")
    (summary,) = (folder / "summary").glob("*.html")
    return handoff, summary


def run(environment: dict[str, str], *arguments: str) -> None:
    """Run a command as its user would; 7 says that some devices were not removed, as planned."""
    done = CliRunner().invoke(main, arguments, env=environment)
    if done.exit_code not in (0, 7):
        raise SystemExit(done.output)


@contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = next(path for name in BROWSERS if (path := shutil.which(name)))
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def picture(driver: Any, page: Path, size: tuple[int, int], scheme: str) -> bytes:
    """The first screen of the page, in PNG."""
    width, height = size
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE},
    )
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    driver.get(page.as_uri())
    return bytes(driver.get_screenshot_as_png())


def save(png: bytes, path: Path) -> None:
    """Write it with few colours, which is most of what makes a screenshot large."""
    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


if __name__ == "__main__":
    main_program()
