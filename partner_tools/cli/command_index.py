"""Every command in the order of the work, with the first paragraph of its help.

The module of a command is imported when the command is called: else `--help` would load them all
for a line of each. A test compares these lines with what the commands say themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

SUMMARIES: Final = {
    "validate": "Check batch files against the schemas and the field rules, offline.",
    "plan": "Show what a removal would do, and write it to a plan file. Removes nothing.",
    "approve": "Sign a plan as a second person.",
    "deregister": "Remove the devices of a batch from Windows Autopilot.",
    "resume": "Finish an interrupted run.",
    "submit": "Queue a batch for the workers on the shared ledger.",
    "worker": "Execute queued runs until stopped.",
    "runs": "List runs, show one with its devices, cancel one, or dismiss its outstanding steps.",
    "verify": "Check again that removed devices are gone, and store the evidence.",
    "report": "Write a handoff for each customer: what was done and what is left to do.",
    "certificate": "Certify which devices are released, lock by lock; check a certificate.",
    "keys": "Publish the key that signs your certificates.",
    "restore": "Write the file that registers a run's removed devices again.",
    "cleanup": "Show, and with --apply carry out, the steps of a handoff in your own tenant.",
    "customers": "List your customers: domain, company name and tenant id.",
    "inventory": "List all devices of a customer that Partner Center shows.",
    "hash": "Decode and check 4K hardware hashes. Offline.",
    "ledger": "Verify, export, purge or migrate the ledger.",
    "trace": "Show where a device is now, and what every run did with it.",
    "auth": "Sign in as a user, and show which token would be used.",
    "config": "Write and show the configuration. It never contains secrets.",
    "doctor": "Check configuration, ledger, sign-in and access, and name the next step.",
    "completion": "Print the script for shell completion.",
    "schema": "List the JSON Schemas, or print one.",
    "sandbox": "Simulate the services on this machine, with seeded devices and faults.",
    "demo": "Remove a sample batch from a sandbox, and write the handoff.",
}

SECTIONS: Final = {
    "Remove devices": (
        "validate",
        "plan",
        "approve",
        "deregister",
        "resume",
        "verify",
        "report",
        "certificate",
        "restore",
    ),
    "Past runs": ("runs", "trace", "ledger"),
    "Look": ("customers", "inventory", "hash"),
    "For customers": ("cleanup",),
    "For a fleet": ("submit", "worker"),
    "Set up": ("demo", "config", "auth", "keys", "doctor", "completion"),
}
"""Where `--help` lists a command. A command that is not named here is listed under `More`."""


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
