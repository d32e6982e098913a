"""`demo`: the main job on the shipped sample, against a sandbox in this process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from partner_tools.cli.deregister import deregister_batch
from partner_tools.cli.options import FORMATS
from partner_tools.cli.output import tell
from partner_tools.cli.program import Call, command
from partner_tools.cli.sandbox import load_sandbox
from partner_tools.workspace.conduct import Wishes

SAMPLE = "retired.csv"
CUSTOMER = "contoso.onmicrosoft.com"


@command("demo")
@click.option(
    "-o",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("handoff"),
    show_default=True,
    help="Folder for the handoff.",
)
def demo(call: Call, folder: Path) -> int:
    """Remove the devices of a sample batch from a sandbox, and write the handoff.

    Needs no configuration, no credentials and no network beyond loopback, and leaves nothing
    behind but its folder.

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
        sample = _sample()
        tell(
            f"$ partner-tools deregister {SAMPLE} --via partner-center --customer {CUSTOMER} --yes"
        )
        code = deregister_batch(
            call,
            str(sample),
            Wishes(yes=True, report=folder, formats=FORMATS),
            via="partner-center",
            customer=CUSTOMER,
            junit=None,
            batch_id=None,
            reason="end-of-life",
            reference=None,
        )
    for path in sorted(folder.glob("handoff-*")):
        click.echo(path)
    # Some devices of the sample cannot be removed, and the demo shows that they are named.
    return 0 if code in (0, 7) else code


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
    folder = shipped if shipped.is_dir() else Path(__file__).resolve().parents[2] / "samples"
    return folder / SAMPLE
