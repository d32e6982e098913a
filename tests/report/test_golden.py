"""What every format makes of the mixed fleet and of an enemy's names, kept to be reviewed.

`UPDATE_GOLDEN=1` writes the files anew. They hold one escaped line for each line of the original,
so that nothing invisible hides in them and no checkout changes them.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from openpyxl import load_workbook

from partner_tools.report.handoff import Document
from partner_tools.report.page import Handoff
from partner_tools.report.write import FORMATS, ON_REQUEST
from tests.report import fleet
from tests.report.test_page import Reader

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
DOCUMENTS = {
    "mixed": fleet.handoff(fleet.mixed()),
    "hostile": fleet.handoff(fleet.hostile()),
    "unseen": fleet.handoff(fleet.unseen(count=4)),
}


COMPARED = (*(name for name in FORMATS if name != "eml"), "email-text", "tickets")
"""The e-mail holds the page once more."""


def rendered(document: Document, name: str) -> bytes:
    """The handoff in one format."""
    stream = io.BytesIO()
    {**FORMATS, **ON_REQUEST}[name].write(Handoff(document), stream)
    return stream.getvalue()


def lines(document: Document, name: str) -> Iterator[str]:
    """What a reader of the format gets, line by line."""
    content = rendered(document, name)
    if name == "xlsx":
        yield from cells(content)
    elif name == "html":
        yield from (word.strip() for word in Reader(content.decode()).words if word.strip())
    else:
        yield from content.decode("utf-8").split("\n")


def cells(content: bytes) -> Iterator[str]:
    """Every cell of a workbook, with its type."""
    for sheet in load_workbook(io.BytesIO(content)).worksheets:
        for row in sheet.iter_rows():
            for cell in row:
                if cell.value is not None:
                    yield f"{sheet.title}!{cell.coordinate} {cell.data_type} {cell.value}"


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("fleet_name", DOCUMENTS)
def test_golden(fleet_name: str, name: str) -> None:
    escaped = [
        line.encode("unicode_escape").decode("ascii") for line in lines(DOCUMENTS[fleet_name], name)
    ]
    path = GOLDEN / f"{fleet_name}.{name}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(escaped) + "\n", encoding="ascii", newline="\n")
    assert path.read_text(encoding="ascii").splitlines() == escaped
