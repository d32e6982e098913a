"""How much of a hostile file intake takes on before it says no.

CSV and JSON Lines are read as a stream and have no limit but that of one record; JSON and XLSX
are held in memory or expand on reading, so that their size is limited. The figures are part of
the documentation of the formats.
"""

from __future__ import annotations

from typing import Final

from partner_tools.intake.rules import HaltError, halt

MIB: Final = 1024 * 1024
PIECE_BYTES: Final = MIB
"""How much of a file is looked at in one go."""
TEXT_CHARACTERS: Final = 65_536
"""How much of a text is split into lines in one go, and looked at to tell its format."""
HELD_BYTES: Final = 256 * MIB
"""Standard input, and a batch that is going to be planned: both are kept in memory.
`validate` of a file has no such limit."""
RECORD_CHARACTERS: Final = MIB
"""One line, or one record of a CSV over several lines. A row with a hash has about 4,100."""
CELL_CHARACTERS: Final = 131_072
"""One quoted cell of a CSV: the csv module's own limit."""
COLUMNS: Final = 256
"""The columns of a table."""
JSON_BYTES: Final = 64 * MIB
"""A JSON batch: about 400,000 devices, or 15,000 with hashes."""
JSON_VALUES: Final = 5_000_000
"""Its values: an empty list of two bytes takes 64 in memory."""
JSON_DEPTH: Final = 16
"""Objects and lists within each other. A batch needs four."""
XLSX_BYTES: Final = 32 * MIB
"""A workbook as a file."""
XLSX_UNPACKED_BYTES: Final = 256 * MIB
"""The sum of a workbook's parts, unpacked."""
XLSX_RATIO: Final = 200
"""How far a part of more than one MiB may expand: real sheets reach about 30."""
XLSX_PARTS: Final = 2_000
"""Files inside a workbook."""
XLSX_ROWS: Final = 1_048_576
"""The rows of a sheet, which is Excel's own limit."""


def require(size: int, limit: int, what: str) -> None:
    """Raise HaltError where `size` bytes are more than `limit`."""
    if size > limit:
        raise halt("file-too-large", f"{what} is larger than {limit // MIB} MiB")


def record_too_long(row: int) -> HaltError:
    """The end of a file whose record does not end."""
    return halt("line-too-long", f"a record has more than {RECORD_CHARACTERS:,} characters", row)
