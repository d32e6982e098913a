"""Every command in the order of the work, with the first paragraph of its help.

The module of a command is imported when the command is called: else `--help` would load them all
for a line of each. A test compares these lines with what the commands say themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

SUMMARIES: Final = {
    "validate": "Check batches against the schemas and the field rules; nothing is sent.",
    "plan": "Plan the removal of a batch: reads only, removes nothing.",
    "approve": "Sign a plan as a second person.",
    "deregister": "Remove the devices of a batch from Windows Autopilot.",
    "resume": "Finish an interrupted run.",
    "submit": "Queue a batch for the workers on the shared ledger, and print its run.",
    "worker": "Carry out queued runs until stopped.",
    "runs": "List runs, newest first; show one with its devices; or cancel one.",
    "verify": "Look again whether what a run removed is gone; what is seen is kept as evidence.",
    "report": "Write one handoff per customer: what was done, and what is still the customer's "
    "to do.",
    "restore": "Write the re-registration file of what a run removed, and say what it cannot hold.",
    "cleanup": "Show, and with --apply carry out, the Intune and Autopilot steps of a handoff.",
    "inventory": "List every device of a customer that Partner Center shows: all batches, all "
    "pages.",
    "hash": "Decode and check 4K hardware hashes. Offline.",
    "ledger": "Prove, export, purge and move the durable record.",
    "trace": "Show what every run did with one serial number or product key id.",
    "auth": "Sign in as a user, and see what tokens there are.",
    "config": "Write and show the configuration. Secrets never stand in it.",
    "doctor": "Check configuration, ledger, sign-in and access, and say the one next step.",
    "completion": "Print the script with which a shell completes commands, options and their "
    "values.",
    "schema": "List the JSON Schemas, or print one.",
    "sandbox": "Serve the services on loopback, with seeded devices and injectable faults.",
    "demo": "Remove the devices of a sample batch from a sandbox, and write the handoff.",
}

SECTIONS: Final = {
    "The work": (
        "validate",
        "plan",
        "approve",
        "deregister",
        "resume",
        "verify",
        "report",
        "restore",
    ),
    "What was done": ("runs", "trace", "ledger"),
    "What is there": ("inventory", "hash"),
    "At the customer": ("cleanup",),
    "A depot's fleet": ("submit", "worker"),
    "Getting ready": ("demo", "config", "auth", "doctor", "completion"),
}
"""Where `--help` lists a command; what is not named here stands under `More`."""


def sections() -> dict[str, list[tuple[str, str]]]:
    """The commands with their summaries as `--help` groups them."""
    placed = {name for names in SECTIONS.values() for name in names}
    rest = tuple(name for name in SUMMARIES if name not in placed)
    return {
        title: [(name, SUMMARIES[name]) for name in names]
        for title, names in {**SECTIONS, "More": rest}.items()
    }


def summaries() -> dict[str, click.Command]:
    """What `--help` has to know of each command, and no more."""
    return {name: click.Command(name, help=text) for name, text in SUMMARIES.items()}


def load(name: str) -> click.Command:
    """The command of this name, one of `SUMMARIES`."""
    module = import_module(f"partner_tools.cli.commands.{name}")
    command: click.Command = getattr(module, "hash_" if name == "hash" else name)
    return command
