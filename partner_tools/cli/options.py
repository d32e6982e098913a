"""The options that several commands share, each defined once."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from partner_tools import ReadingOptions

Command = TypeVar("Command", bound=Callable[..., Any])

OUTPUTS = ("text", "json", "jsonl")
FORMATS = ("html", "xlsx", "csv", "json", "md", "ps1", "eml")
"""The default report formats; a test compares them with the report's, which load too much."""
FORMAT_CHOICES = (*FORMATS, "checklist", "txt", "email-text", "tickets", "worksheet")
MOMENTS = (
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M%z",
    "%Y-%m-%dT%H:%M:%S%z",
)


class OutputFile(click.Path):
    """A file to write, not `-`: printed output has a format of its own."""

    def __init__(self) -> None:
        from pathlib import Path

        super().__init__(path_type=Path, dir_okay=False)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if str(value) == "-":
            self.fail("'-' is not a file that can be written; name one.", param, ctx)
        return super().convert(value, param, ctx)


def file_path(*, exists: bool = False) -> click.Path:
    from pathlib import Path

    return click.Path(path_type=Path, dir_okay=False, exists=exists)


def folder_path(*, exists: bool = False) -> click.Path:
    from pathlib import Path

    return click.Path(path_type=Path, file_okay=False, exists=exists)


class Moment(click.DateTime):
    """A date, or a moment: in UTC, unless it ends with an offset."""

    def __init__(self) -> None:
        super().__init__(MOMENTS)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The name in `--help`; click would print the formats."""
        return "DATE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment: datetime = super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(f"{value!r} is not a date; write 2026-04-17 or 2026-04-17T10:15.", param, ctx)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


class LedgerAddress(click.types.StringParamType):
    """The address of a ledger, without a password: other users of the machine see arguments."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        address = str(value)
        if _PASSWORD_IN_URL.search(address):
            self.fail(
                "it contains a password, which every user of this machine could read in the "
                "process list. Set PARTNER_TOOLS_LEDGER to the whole address, or leave the "
                "password to PGPASSWORD or a .pgpass file.",
                param,
                ctx,
            )
        return address


_PASSWORD_IN_URL = re.compile(r"://[^:/@]*:.+@|[?&][^=&]*password=[^&]", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """Options allowed before the subcommand as well as after it."""

    config: str | None = None
    profile: str | None = None
    ledger: str | None = None
    log_format: str | None = None
    verbose: int = 0
    quiet: bool = False

    def overlaid(self, later: Common) -> Common:
        given = {name: value for name in COMMON_NAMES if (value := getattr(later, name))}
        return replace(self, **given)


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in the order of a help page."""

    def added(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return added


common = _together(
    click.option(
        "--config",
        type=click.Path(dir_okay=False),
        help="Configuration file (TOML) to use instead of the default.",
    ),
    click.option("--profile", help="Profile of the configuration file to use."),
    click.option(
        "--ledger",
        type=LedgerAddress(),
        help="Ledger: path of a SQLite file, or SQLAlchemy URL.",
        metavar="URL",
    ),
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), help="Format of messages on stderr."
    ),
    click.option(
        "-v",
        "--verbose",
        count=True,
        help="List each device and log requests; -vv also logs details.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Print only the result and errors."),
)
"""The options that are allowed before and after the subcommand."""


def take_common(given: dict[str, Any]) -> Common:
    return Common(**{name: given.pop(name) for name in COMMON_NAMES})


COMMON_NAMES = ("config", "profile", "ledger", "log_format", "verbose", "quiet")


def customer_option(about: str) -> Callable[[Command], Command]:
    """`--customer`, which a shell completes with the domains that the ledger knows."""
    from partner_tools.cli.completers import customers

    return click.option("--customer", help=about, shell_complete=customers)


def via_option(channels: Iterable[str], about: str) -> Callable[[Command], Command]:
    return click.option("--via", type=click.Choice([str(name) for name in channels]), help=about)


def key_option(about: str) -> Callable[[Command], Command]:
    return click.option(
        "--key",
        "key_file",
        type=file_path(),
        help=f"{about} [default: in the user's data folder]",
    )


def batch_options(command: Command) -> Command:
    from partner_tools.model import PARTNER_CHANNELS

    named = _together(
        via_option(PARTNER_CHANNELS, "Service to remove devices through."),
        customer_option("Customer: tenant id, domain or company name."),
    )
    return named(list_options(command))


def list_options(command: Command) -> Command:
    from partner_tools.model import Reason

    named = _together(
        click.option("--batch-id", help="Id of the batch, for formats without this field."),
        click.option(
            "--reason",
            type=click.Choice([reason.value for reason in Reason]),
            help="Why the devices leave, for formats without this field.",
        ),
        click.option(
            "--reference", help="Your reference, such as a ticket, for formats without this field."
        ),
    )
    return named(reading_options(command))


class Selection(click.ParamType[tuple[str, str]]):
    """`COLUMN=VALUE`: rows of a list."""

    name = "COLUMN=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        column, equals, wanted = str(value).partition("=")
        if not equals or not column.strip():
            self.fail(f"{value!r} is not COLUMN=VALUE, such as Status=Retired.", param, ctx)
        return column.strip(), wanted.strip()


reading_options = _together(
    click.option(
        "--serial",
        "serials",
        multiple=True,
        metavar="SERIAL",
        help="Serial number of a device, in place of BATCH; may be repeated.",
    ),
    click.option("--serial-column", metavar="NAME", help="Column with the serial numbers."),
    click.option("--sheet", metavar="NAME", help="Sheet of the workbook with the devices."),
    click.option(
        "--numbers-as-shown",
        is_flag=True,
        help="Read numeric cells of a workbook as Excel shows them.",
    ),
    click.option(
        "--split-cells", is_flag=True, help="Split cells that hold several serial numbers."
    ),
    click.option(
        "--only",
        type=Selection(),
        multiple=True,
        help="Take only rows with this value in this column; may be repeated.",
    ),
    click.option(
        "--except",
        "excluded",
        type=Selection(),
        multiple=True,
        help="Leave out rows with this value in this column; may be repeated.",
    ),
    click.option(
        "--compare",
        type=click.Choice(["all", "serial"]),
        default="all",
        help="Compare everything that a row states, or only the serial number.  [default: all]",
    ),
)
"""The options for reading a list that does not describe itself; `take_reading` takes them."""


READING_NAMES = (
    "serials",
    "serial_column",
    "sheet",
    "numbers_as_shown",
    "split_cells",
    "only",
    "excluded",
    "compare",
)


BATCH_NAMES = ("via", "customer", "batch_id", "reason", "reference", *READING_NAMES)


def take_reading(given: dict[str, Any]) -> tuple[tuple[str, ...], ReadingOptions]:
    """Take the reading options out of a command's arguments: the serials, and how to read."""
    from partner_tools import ReadingOptions

    serials = given.pop("serials")
    compare = given.pop("compare")
    said = {name: given.pop(name) for name in READING_NAMES if name in given}
    return serials, ReadingOptions(**said, compare_serial=compare == "serial")


output_options = click.option(
    "--output", type=click.Choice(OUTPUTS), default="text", show_default=True, help="Output format."
)


def result_options(command: Command) -> Command:
    junit = click.option("--junit", type=OutputFile(), help="Also write the result as JUnit XML.")
    return output_options(junit(command))


def guard_options(command: Command, done: str = "removed") -> Command:
    """Add the options that have to confirm it before something is `done` to devices."""
    added = _together(
        click.option(
            "--yes", is_flag=True, help="Do not ask for confirmation; required without a terminal."
        ),
        click.option(
            "--max-devices",
            type=click.IntRange(min=0),
            metavar="N",
            help=f"Refuse if more than N devices would be {done}. [default: 500]",
        ),
    )
    return added(command)


def check_options(command: Command) -> Command:
    """Add the options for the checks before a removal, the same in a preview and in a run."""
    from partner_tools.model import Snapshot

    def as_snapshot(_context: click.Context, _option: click.Parameter, value: str) -> Snapshot:
        return Snapshot(value)

    added = _together(
        click.option(
            "--snapshot",
            type=click.Choice([each.value for each in Snapshot]),
            default=Snapshot.BEST_EFFORT.value,
            show_default=True,
            callback=as_snapshot,
            help="Read the customer's tenant before the removal; `required` removes "
            "nothing if that fails.",
        ),
        click.option(
            "--no-snapshot",
            "snapshot",
            flag_value=Snapshot.NONE.value,
            default=Snapshot.BEST_EFFORT.value,
            callback=as_snapshot,
            help="Same as --snapshot none.",
        ),
        click.option(
            "--snapshot-timeout",
            type=click.FloatRange(min=0, min_open=True),
            default=60.0,
            show_default=True,
            metavar="SECONDS",
            help="Time for reading the customer's tenant before the removal.",
        ),
        click.option(
            "--accept-locked-firmware",
            metavar="SERIAL",
            multiple=True,
            help="Remove this device although its firmware stays locked; repeat for several.",
        ),
        click.option(
            "--min-found",
            type=click.FloatRange(min=0, max=1),
            metavar="SHARE",
            help="Refuse if fewer than this share of the devices is registered. [default: 0.5]",
        ),
        click.option(
            "--require-intune-clear",
            is_flag=True,
            help="Refuse devices not confirmed absent from Intune.",
        ),
    )
    return added(command)


def settle_option(default: float, about: str) -> Callable[[Command], Command]:
    """`--settle`: how long to wait at the end."""
    return click.option(
        "--settle",
        type=click.FloatRange(min=0),
        default=default,
        show_default=True,
        metavar="SECONDS",
        help=about,
    )


WAIT_UNTIL_GONE = "Keep checking for up to SECONDS until removed devices disappear."


def report_options(about: str) -> Callable[[Command], Command]:
    """`--report` and `--format`: the handoff that follows."""
    report = click.option("--report", type=folder_path(), help=about)
    return lambda command: report(format_option(command))


def format_option(command: Command) -> Command:
    return click.option(
        "--format",
        "formats",
        type=click.Choice(FORMAT_CHOICES),
        metavar="FORMAT",
        multiple=True,
        help=f"Handoff format: {', '.join(FORMATS)} (the default), "
        f"{', '.join(FORMAT_CHOICES[len(FORMATS) :])}; repeat for several.",
    )(command)
