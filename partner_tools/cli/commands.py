"""Every command, in the order of the work."""

from __future__ import annotations

import click

from partner_tools.cli.auth import auth
from partner_tools.cli.config import config
from partner_tools.cli.demo import demo
from partner_tools.cli.deregister import deregister
from partner_tools.cli.doctor import doctor
from partner_tools.cli.hash import hash_
from partner_tools.cli.inventory import inventory
from partner_tools.cli.ledger import ledger
from partner_tools.cli.plan import plan
from partner_tools.cli.report import report
from partner_tools.cli.restore import restore
from partner_tools.cli.resume import resume
from partner_tools.cli.runs import runs
from partner_tools.cli.sandbox import sandbox
from partner_tools.cli.schema import schema
from partner_tools.cli.trace import trace
from partner_tools.cli.validate import validate
from partner_tools.cli.verify import verify

ALL: tuple[click.Command, ...] = (
    validate,
    plan,
    deregister,
    resume,
    runs,
    verify,
    report,
    restore,
    inventory,
    hash_,
    ledger,
    trace,
    auth,
    config,
    doctor,
    schema,
    sandbox,
    demo,
)
