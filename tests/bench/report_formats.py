"""Time, memory and size of every report format, and of what it would cost another way.

    python tests/bench/report_formats.py [--devices 10000 100000] [--rounds 3] [--browser]
        [--formats document html …]

The handoff of a mixed fleet is built once and kept as a file; each measurement is a process of its
own that reads it and writes one format. Seconds (wall and CPU) and megabytes are of the writing
alone; `document` is the building of it. The baselines write the same rows the usual way:
`xlsx-pandas` by `DataFrame.to_excel`, `html-markup` all devices as markup. `--browser` opens the
page in Chromium and measures opening and filtering.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from partner_tools.report.handoff import Document
from partner_tools.report.tables import STEP_COLUMNS, step_rows
from partner_tools.report.write import FORMATS
from tests.report import fleet

FILTER = """
const box = document.getElementById('query');
const times = [];
for (const text of ['5', '5c', '5cd', '5cd1', '5cd1b', '']) {
  const start = performance.now();
  box.value = text;
  box.dispatchEvent(new Event('input'));
  document.body.offsetHeight;
  times.push(performance.now() - start);
}
return times;
"""


def by_pandas(document: Document, stream: BinaryIO) -> None:
    """One row per device and step, by the usual call."""
    import pandas as pd

    rows = [[column.value(row) for column in STEP_COLUMNS] for row in step_rows(document)]
    frame = pd.DataFrame(rows, columns=[column.title for column in STEP_COLUMNS])
    frame.to_excel(stream, index=False, engine="openpyxl")


def all_markup(document: Document, stream: BinaryIO) -> None:
    """A page with every device and step as a row of markup."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(
        "<table>{% for row in rows %}<tr>{% for it in row %}<td>{{ it }}</td>{% endfor %}</tr>"
        "{% endfor %}</table>"
    )
    rows = ([column.value(row) for column in STEP_COLUMNS] for row in step_rows(document))
    for chunk in page.generate(rows=rows):
        stream.write(chunk.encode())


WRITERS: Mapping[str, Callable[[Document, BinaryIO], None]] = {
    **{name: form.write for name, form in FORMATS.items()},
    "xlsx-pandas": by_pandas,
    "html-markup": all_markup,
}


def peak_megabytes() -> float:
    """The most memory that this process ever had; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    lines = status.read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def load(path: Path) -> Document:
    """Read a handoff line by line, so that its text never stands in memory as a whole."""
    parts: dict[str, str] = {}
    devices: list[Document] = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            text = line.strip().rstrip(",")
            if text.startswith('{"row"'):
                devices.append(json.loads(text))
            elif '": ' in text:
                name, _, value = text.partition(": ")
                parts[json.loads(name)] = value
    del parts["devices"]
    return {name: json.loads(value) for name, value in parts.items()} | {"devices": devices}


def build(count: int) -> dict[str, float]:
    """Build a handoff, in this process."""
    devices = list(fleet.large(count))
    return _timed(lambda: len(fleet.handoff(devices)["devices"]) * 0)


def measure(name: str, path: Path) -> dict[str, float]:
    """Write one format, in this process."""
    document = load(path)

    def write() -> int:
        with tempfile.TemporaryFile() as stream:
            WRITERS[name](document, stream)
            return stream.seek(0, io.SEEK_END)

    return _timed(write)


def _timed(work: Callable[[], int]) -> dict[str, float]:
    before, start, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
    size = work()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "megabytes": peak_megabytes() - before,
        "size": size / 1e6,
    }


def measured(name: str, what: str, rounds: int) -> dict[str, float]:
    """The medians of several processes; `what` is the file, or the count for `document`."""
    runs = [_run(name, what) for _ in range(rounds)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _run(name: str, what: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.report_formats", "--one", name, what],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def in_browser(document: Path) -> dict[str, Any]:
    """How long Chromium takes to open the page, and per keystroke of the search."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        with path.open("wb") as stream:
            FORMATS["html"].write(load(document), stream)
        try:
            start = time.perf_counter()
            driver.get(path.as_uri())
            opened = time.perf_counter() - start
            keys = driver.execute_script(FILTER)
            heap = driver.execute_script("return performance.memory.usedJSHeapSize / 1e6")
        finally:
            driver.quit()
    return {"open": opened, "key": statistics.median(keys), "worst": max(keys), "heap": heap}


def main() -> None:
    """Print a table of everything measured."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--devices", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--formats", nargs="+", default=["document", *WRITERS])
    arguments.add_argument("--browser", action="store_true")
    arguments.add_argument("--one", nargs=2, metavar=("FORMAT", "WHAT"))
    chosen = arguments.parse_args()
    if chosen.one:
        name, what = chosen.one
        one = build(int(what)) if name == "document" else measure(name, Path(what))
        sys.stdout.write(json.dumps(one))
        return
    sys.stdout.write("| format | devices | seconds | CPU s | MB more | file, MB |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        for count in chosen.devices:
            path = Path(folder) / f"{count}.json"
            with path.open("wb") as stream:
                FORMATS["json"].write(fleet.handoff(fleet.large(count)), stream)
            report(path, count, chosen)
            if chosen.browser:
                report_browser(path, count)


def report(path: Path, count: int, chosen: argparse.Namespace) -> None:
    """Print a line for every format."""
    for name in chosen.formats:
        it = measured(name, str(count) if name == "document" else str(path), chosen.rounds)
        sys.stdout.write(
            f"| {name} | {count:,} | {it['seconds']:.2f} | {it['cpu']:.2f} |"
            f" {it['megabytes']:.0f} | {it['size']:.1f} |\n"
        )
        sys.stdout.flush()


def report_browser(path: Path, count: int) -> None:
    """Print what the page does in Chromium."""
    it = in_browser(path)
    sys.stdout.write(
        f"Chromium, {count:,} devices: open {it['open']:.1f} s, per keystroke"
        f" {it['key']:.0f} ms (worst {it['worst']:.0f}), heap {it['heap']:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
