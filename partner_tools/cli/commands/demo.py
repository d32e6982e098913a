"""`demo`: the main job on the shipped sample, against a sandbox in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from partner_tools import RunOptions, RunResult, Source
from partner_tools.cli.app import Call, command
from partner_tools.cli.commands.sandbox import load_sandbox
from partner_tools.cli.console import tell
from partner_tools.cli.options import FORMATS, folder_path
from partner_tools.cli.reporter import ConsoleReporter
from partner_tools.cli.wiring import opened, show_problems
from partner_tools.workspace.batches import read_batch

SAMPLE = "retired.csv"
CUSTOMER = "contoso.onmicrosoft.com"
# One device of the sample stays listed for longer than any wait: an example for the report.
SETTLE_SECONDS = 2.0


@command("demo")
@click.option(
    "-o",
    "folder",
    type=folder_path(),
    default=Path("handoff"),
    show_default=True,
    help="Folder for the handoff.",
)
def demo(call: Call, folder: Path) -> int:
    """Remove a sample batch from a sandbox, and write the handoff.

    Needs no configuration, credentials or network. Writes only to the folder.

    \b
    Example:
      partner-tools demo -o handoff
    """
    sandboxes = load_sandbox()
    with (
        tempfile.TemporaryDirectory(prefix="partner-tools-demo-") as private,
        sandboxes.Sandbox(sandboxes.shipped_seed()) as sandbox,
        _environment(sandbox.announce()["environment"], Path(private)),
    ):
        tell(
            f"$ partner-tools deregister {SAMPLE} --via partner-center --customer {CUSTOMER} --yes"
        )
        try:
            result = _deregister(call, folder)
        finally:  # its ledger is deleted: there is no run to show or to resume
            call.breaking_off = call.going_on = None
    for path in result.reports:
        click.echo(path)
    tell("nothing of yours was touched; open the HTML file to see what a customer receives")
    tell(f"next: {call.again('doctor')}")
    # Some devices of the sample cannot be removed, and the demo shows that they are named.
    return 0 if result.exit_code in (0, 7) else result.exit_code


def _deregister(call: Call, folder: Path) -> RunResult:
    batch = read_batch(
        Source(name=SAMPLE, path=_sample()),
        via="partner-center",
        customer=CUSTOMER,
        reason="end-of-life",
        warn=show_problems,
    )
    with opened(call) as workspace:
        return workspace.deregister(
            batch,
            via="partner-center",
            customer=CUSTOMER,
            options=RunOptions(yes=True, report=folder, formats=FORMATS, settle=SETTLE_SECONDS),
            observer=ConsoleReporter(call=call, workspace=workspace),
        )


@contextmanager
def _environment(sandbox: Mapping[str, str], private: Path) -> Iterator[None]:
    """The environment of the real commands, pointed at the sandbox and a ledger that goes away."""
    before = {name: text for name, text in os.environ.items() if name.startswith("PARTNER_TOOLS_")}
    empty = private / "partner-tools.toml"
    empty.write_text("", encoding="utf-8")
    settings = {
        **sandbox,
        "PARTNER_TOOLS_CONFIG": str(empty),
        "PARTNER_TOOLS_LEDGER": str(private / "ledger.db"),
    }
    try:
        for name in before:
            del os.environ[name]
        os.environ.update(settings)
        yield
    finally:
        for name in settings:
            os.environ.pop(name, None)
        os.environ.update(before)


def _sample() -> Path:
    from importlib.resources import files

    shipped = Path(str(files("partner_tools"))) / "samples"
    folder = shipped if shipped.is_dir() else Path(__file__).resolve().parents[3] / "samples"
    return folder / SAMPLE
