"""The command group: keeps the common options, and turns every ending into its exit code."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import update_wrapper
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NoReturn

import click

from partner_tools.cancellation import CancellationToken
from partner_tools.cli.console import (
    FORM,
    is_unwritable,
    print_error,
    print_json,
    tell,
    telling_of_no_room,
)
from partner_tools.cli.help_pages import SECTIONS, SUMMARIES, OwnFirst, Whole, load, summaries
from partner_tools.cli.options import Common, common, take_common
from partner_tools.cli.streams import prepare_streams
from partner_tools.errors import (
    InputError,
    Interrupted,
    MissingValueError,
    PartnerToolsError,
    UnknownRunError,
)

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_BUG = 1
NO_ROOM_RULE = "no-room"
WITHOUT_DOCUMENT = (Interrupted, UnknownRunError)
"""An unknown run is a misuse of the command line, and those print nothing on stdout."""

COLLECT_AFTER = 50_000
"""Objects allocated before the garbage collector runs: a command's imports and the rows of a
batch stay alive. With Python's 700 the collector takes a tenth of the start-up time."""


@dataclass(slots=True)
class Call:
    """The context of a command, in addition to its own arguments.

    `breaking_off` is set while a run is active: if the command ends early it prints the run's
    result, and returns its last lines; if it ends at once, `going_on` is that command. `if_refused`
    is the last line where no run began. `make_token` makes what a command is stopped by, and waits
    with; `at_end` takes away what is written over on the screen, however the command ends.
    """

    common: Common = field(default_factory=Common)
    output: str = "text"
    breaking_off: Callable[[PartnerToolsError], Iterable[str]] | None = None
    going_on: str | None = None
    if_refused: str | None = None
    make_token: Callable[[], CancellationToken] = CancellationToken
    at_end: Callable[[], None] = lambda: None

    def again(self, *words: str) -> str:
        """A further command on the same ledger and configuration, to paste."""
        from partner_tools.cli.console import pasteable

        named = {
            "--config": self.common.config,
            "--profile": self.common.profile,
            "--ledger": self.common.ledger,
        }
        given = [word for name, value in named.items() if value for word in (name, value)]
        return pasteable("partner-tools", *words, *given)


class Program(Whole):
    """The group of all commands, each loaded when it is called; `commands` holds summaries."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load(cmd_name) if cmd_name in self.commands else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """List the commands with their complete summaries, without loading one."""
        from click.shell_completion import CompletionItem

        named = (name for name in self.commands if name.startswith(incomplete))
        offered = [CompletionItem(name, help=SUMMARIES[name]) for name in named]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the summaries in the order of the work, without loading a command."""
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([*rows.items()])

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run the program; from its first line on, standard error has the form asked for."""
        before = FORM.is_json
        FORM.is_json = _asks_for_json(sys.argv[1:] if args is None else args)
        try:
            if prepare_streams():
                return super().main(args, *more, **extra)
            # Before anything is sent, not when there is a result that cannot be delivered.
            remedy = f"to run without the result, redirect it to {os.devnull}"
            print_error(InputError("standard output is closed", rule=NO_ROOM_RULE, remedy=remedy))
        except OSError as error:  # of a help page; `invoke` handles those of a command
            if not is_unwritable(error):
                raise
            print_error(_without_room(Call(), error))
        finally:
            FORM.is_json = before
        sys.exit(InputError.exit_code)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except click.ClickException as error:
            raise _told(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every failure that a user can act on ends here."""
        call = ctx.ensure_object(Call)
        gc.set_threshold(COLLECT_AFTER)
        try:
            return super().invoke(ctx)
        except PartnerToolsError as error:
            _end(call, _as_of(call, error))
            ctx.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _end(call, Interrupted("interrupted"))
            ctx.exit(Interrupted.exit_code)
        except click.ClickException as error:
            raise _told(error) from error
        except click.exceptions.Exit:
            raise
        except OSError as error:
            if not is_unwritable(error):
                _report_bug(ctx)
            without_room = _without_room(call, error)
            _end(call, without_room)
            ctx.exit(without_room.exit_code)
        except Exception:  # noqa: BLE001 - the one place where a bug is reported as such
            _report_bug(ctx)


def command(
    name: str, *, group: click.Group | None = None, logs: bool = True
) -> Callable[[Callable[..., int | None]], click.Command]:
    """Make a function a command, of a group if named, called with `Call` before its own arguments.

    It returns the exit code. A command without logging doesn't load the logging modules.
    """

    def made(function: Callable[..., int | None]) -> click.Command:
        def body(**given: Any) -> None:
            context = click.get_current_context()
            call: Call = context.obj
            call.common = call.common.overlaid(take_common(given))
            call.output = given.pop("output", "text")
            try:
                with _logging(call.common) if logs else nullcontext():
                    code = function(call, **given) or 0
            except MissingValueError as error:
                raise click.UsageError(str(error), context) from error
            finally:
                call.at_end()
            context.exit(code)

        made_one = click.command(name, cls=OwnFirst)(common(update_wrapper(body, function)))
        if group is not None:
            group.add_command(made_one)
        return made_one

    return made


def _told(error: click.ClickException) -> Exception:
    """Convert click's error about a command line for places that take a line of JSON."""
    if not FORM.is_json:
        return error
    context = error.ctx if isinstance(error, click.UsageError) else None
    remedy = f"see `{context.command_path} --help`" if context else None
    tell(error.format_message(), "error", exit=error.exit_code, remedy=remedy)
    return click.exceptions.Exit(error.exit_code)


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether `--log-format json` is given anywhere, before the rest is parsed."""
    forms = [
        each.partition("=")[2] or following
        for each, following in zip_longest(arguments, arguments[1:], fillvalue="")
        if each.partition("=")[0] == "--log-format"
    ]
    return forms[-1:] == ["json"]


def _end(call: Call, error: PartnerToolsError) -> None:
    """Print what there is to print: the run's result, or the error as JSON; then what to do."""
    print_error(error)
    if call.breaking_off is not None:
        for line in call.breaking_off(error):
            tell(line)
    elif call.output == "json" and not isinstance(error, WITHOUT_DOCUMENT):
        from partner_tools.result import error_document

        with telling_of_no_room():
            print_json(error_document(error))
    if call.breaking_off is None and call.if_refused:
        tell(call.if_refused)


def _as_of(call: Call, error: PartnerToolsError) -> PartnerToolsError:
    """An interrupted command without a run of its own, such as `verify`, cannot be resumed."""
    if error.rule == Interrupted.default_rule and call.breaking_off is None:
        return Interrupted(str(error), remedy="run the command again")
    return error


def _logging(common: Common) -> AbstractContextManager[None]:
    from partner_tools.cli.logs import logging_to_stderr

    return logging_to_stderr(common)


def _report_bug(ctx: click.Context) -> NoReturn:
    import traceback

    found = f"{traceback.format_exc()}\nThis is a bug in partner-tools; please report it."
    tell(found, "error", exit=EXIT_BUG)
    ctx.exit(EXIT_BUG)


def _without_room(call: Call, error: OSError) -> PartnerToolsError:
    """A run that began is no invalid input: its removals are in the ledger, and `resume` tells."""
    message = f"the output cannot be written: {error.strerror}"
    if call.breaking_off is None:
        return InputError(message, rule=NO_ROOM_RULE, remedy="make room, or write it elsewhere")
    remedy = "make room, or write it elsewhere; what was done is in the ledger, and resuming the "
    return Interrupted(message, rule=NO_ROOM_RULE, remedy=f"{remedy}run prints its result")


@click.group(
    cls=Program,
    commands=summaries(),
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="partner-tools")
@common
@click.pass_obj
def main(call: Call, /, **given: Any) -> None:
    """Remove devices from Windows Autopilot in bulk, and hand the rest to the customer.

    A partner's removal ends the Autopilot registration and nothing else. Intune, Entra ID and
    Active Directory remain the customer's; the handoff report lists what is left to do there.

    Try it: partner-tools demo -o handoff

    Without access to a partner API, as a customer or an indirect reseller, begin with
    partner-tools assess.
    """
    call.common = take_common(given)
