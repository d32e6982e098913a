"""Time, memory and size of every report format, and of what it would cost another way.

    python tests/bench/report_formats.py [--devices 10000 100000] [--rounds 3] [--browser]

Each measurement is a process of its own: it builds the handoff of a mixed fleet, then writes one
format. Seconds (wall and CPU) and megabytes are of the writing alone; `document` is the building
of it. The baselines write the same rows the usual way: `xlsx-pandas` by `DataFrame.to_excel`,
`html-markup` all devices as markup. `--browser` opens the page in Chromium and measures opening
and filtering.
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


def measure(name: str, count: int) -> dict[str, float]:
    """One measurement, in this process."""
    devices = list(fleet.large(count))
    before, start, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
    document = fleet.handoff(devices)
    size = 0
    if name != "document":
        del devices
        before, start, cpu = peak_megabytes(), time.perf_counter(), time.process_time()
        with tempfile.TemporaryFile() as stream:
            WRITERS[name](document, stream)
            size = stream.seek(0, io.SEEK_END)
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - cpu,
        "megabytes": peak_megabytes() - before,
        "size": size / 1e6,
    }


def measured(name: str, count: int, rounds: int) -> dict[str, float]:
    """The medians of several processes."""
    runs = [_run(name, count) for _ in range(rounds)]
    return {what: statistics.median(run[what] for run in runs) for what in runs[0]}


def _run(name: str, count: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.report_formats", "--one", name, str(count)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def in_browser(count: int) -> dict[str, Any]:
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
            FORMATS["html"].write(fleet.handoff(fleet.large(count)), stream)
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
    arguments.add_argument("--browser", action="store_true")
    arguments.add_argument("--one", nargs=2, metavar=("FORMAT", "DEVICES"))
    chosen = arguments.parse_args()
    if chosen.one:
        sys.stdout.write(json.dumps(measure(chosen.one[0], int(chosen.one[1]))))
        return
    out = sys.stdout
    out.write(
        "| format | devices | seconds | CPU s | MB more | file, MB |\n|---|---|---|---|---|---|\n"
    )
    for count in chosen.devices:
        for name in ("document", *WRITERS):
            it = measured(name, count, chosen.rounds)
            out.write(
                f"| {name} | {count:,} | {it['seconds']:.2f} | {it['cpu']:.2f} |"
                f" {it['megabytes']:.0f} | {it['size']:.1f} |\n"
            )
            out.flush()
    for count in chosen.devices if chosen.browser else ():
        it = in_browser(count)
        out.write(
            f"Chromium, {count:,} devices: open {it['open']:.1f} s, per keystroke"
            f" {it['key']:.0f} ms (worst {it['worst']:.0f}), heap {it['heap']:.0f} MB\n"
        )


if __name__ == "__main__":
    main()
