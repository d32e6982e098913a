"""Time, memory and size of every report format, and of what it would cost another way.

The handoff of a mixed fleet is built once and kept as a file; each measurement is a process of its
own that reads it and writes one format. Seconds (wall and CPU) and megabytes are of the writing
alone; `document` is the building of it. The baselines write the same rows the usual way:
`xlsx-pandas` by `DataFrame.to_excel`, `html-markup` all devices as markup. Chromium opens the page
and filters it.

    python -m tests.bench.report_formats FORMAT FILE

is one such process; it prints JSON.
"""

from __future__ import annotations

import io
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from partner_tools.report.handoff import Document
from partner_tools.report.page import Handoff
from partner_tools.report.tables import STEP_COLUMNS, step_rows
from partner_tools.report.write import FORMATS
from tests.bench.figures import Figure, Goal, Part, Table, run_python
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


def by_pandas(handoff: Handoff, stream: BinaryIO) -> None:
    """One row per device and step, by the usual call."""
    import pandas as pd

    rows = [[row.get(title) for title in STEP_COLUMNS] for row in step_rows(handoff.document)]
    frame = pd.DataFrame(rows, columns=list(STEP_COLUMNS))
    frame.to_excel(stream, index=False, engine="openpyxl")


def all_markup(handoff: Handoff, stream: BinaryIO) -> None:
    """A page with every device and step as a row of markup."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(
        "<table>{% for row in rows %}<tr>{% for it in row %}<td>{{ it }}</td>{% endfor %}</tr>"
        "{% endfor %}</table>"
    )
    rows = ([row.get(title) for title in STEP_COLUMNS] for row in step_rows(handoff.document))
    for chunk in page.generate(rows=rows):
        stream.write(chunk.encode())


WRITERS: Mapping[str, Callable[[Handoff, BinaryIO], object]] = {
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


def written(name: str, path: Path) -> dict[str, float]:
    """Write one format, in this process."""
    handoff = Handoff(load(path))

    def write() -> int:
        with tempfile.TemporaryFile() as stream:
            WRITERS[name](handoff, stream)
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


BASELINES = {"xlsx": "xlsx-pandas", "html": "html-markup"}
ROUNDS = 1
ROUNDS_OF_LARGE = 1
KEYSTROKE_MS = 200.0


def measure(*, quick: bool) -> Iterator[Part]:
    """10,000 and 100,000 devices; the page of 10,000 in a browser."""
    sizes = {200: 1} if quick else {10_000: ROUNDS, 100_000: ROUNDS_OF_LARGE}
    with tempfile.TemporaryDirectory() as folder:
        for count, rounds in sizes.items():
            path = Path(folder) / f"{count}.json"
            with path.open("wb") as stream:
                FORMATS["json"].write(Handoff(fleet.handoff(fleet.large(count))), stream)
            names = ("html", "html-markup") if quick else tuple(WRITERS)
            if count == 100_000:  # minutes of pandas, which the smaller fleet shows as well
                names = tuple(FORMATS)
            yield _formats(path, count, rounds, names)
            if count == 10_000:
                yield _browser(path, count)


def _formats(path: Path, count: int, rounds: int, names: Collection[str]) -> Part:
    takes = {
        name: partial(_run, name, str(count) if name == "document" else str(path))
        for name in ("document", *names)
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in takes}
    for _ in range(rounds):
        for name, take in takes.items():
            found[name].append(take())
    return Part(
        title=f"Reports of {count:,} devices",
        how="Each format in a separate process; CPU time of writing only.",
        figures=[_figure(name, found) for name in found],
        tables=[
            Table(
                title=f"Memory and size, {count:,} devices",
                heads=("format", "seconds", "additional MB of memory", "MB of file"),
                rows=[_row(name, runs) for name, runs in found.items()],
            )
        ],
    )


def _figure(name: str, found: dict[str, list[dict[str, float]]]) -> Figure:
    baseline = BASELINES.get(name)
    if baseline not in found:
        baseline = None
    return Figure(
        what=name,
        unit="s of CPU",
        values=[run["cpu"] for run in found[name]],
        baseline=baseline,
        against=[] if baseline is None else [run["cpu"] for run in found[baseline]],
    )


def _row(name: str, runs: list[dict[str, float]]) -> tuple[str, ...]:
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return (
        name,
        f"{middle['seconds']:.2f}",
        f"{middle['megabytes']:.0f}",
        f"{middle['size']:.1f}",
    )


def _browser(path: Path, count: int) -> Part:
    it = in_browser(path)
    return Part(
        title=f"The page of {count:,} devices in Chromium",
        how="Headless, no graphics processor; a keystroke is an `input` event and the new layout.",
        figures=[
            Figure(what="opening", unit="s", values=[it["open"]]),
            Figure(
                what="a keystroke in the search",
                unit="ms",
                values=it["keys"],
                goal=Goal(bound=KEYSTROKE_MS, at_most=True, of_ratio=False),
            ),
            Figure(what="heap of the page", unit="MB", values=[it["heap"]]),
        ],
    )


def _run(name: str, what: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(run_python("-m", "tests.bench.report_formats", name, what))
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
            FORMATS["html"].write(Handoff(load(document)), stream)
        try:
            start = time.perf_counter()
            driver.get(path.as_uri())
            opened = time.perf_counter() - start
            keys = driver.execute_script(FILTER)
            heap = driver.execute_script("return performance.memory.usedJSHeapSize / 1e6")
        finally:
            driver.quit()
    return {"open": opened, "keys": keys, "heap": heap}


def main() -> None:
    """Write one format, and print what it took."""
    _, name, what = sys.argv
    found = build(int(what)) if name == "document" else written(name, Path(what))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
