"""`ledger`: verifies the record, exports it, purges it and copies it."""

from __future__ import annotations

from datetime import datetime
from itertools import chain
from pathlib import Path

import click

from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, counted, print_document, say, tell, without_password
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import (
    LedgerAddress,
    Moment,
    customer_option,
    file_path,
    key_option,
    output_options,
)
from partner_tools.cli.signals import agree, require_terminal
from partner_tools.cli.signing_key import unlock_key
from partner_tools.cli.wiring import load_config, opened
from partner_tools.errors import LedgerError
from partner_tools.signing import is_public
from partner_tools.workspace.approvals import approval_rule
from partner_tools.workspace.environment import ledger_url, now
from partner_tools.workspace.exports import (
    FORMS,
    check_export,
    lines_of,
    sign_export,
    write_export,
)


@click.group("ledger", cls=Whole)
def ledger() -> None:
    """Verify, export, purge or migrate the ledger.

    \b
    Example:
      partner-tools ledger verify
    """


@command("verify", group=ledger)
@click.option("--head", "expected", help="Head digest printed by an earlier export or verify.")
@click.option(
    "--export",
    "exported",
    type=file_path(),
    help="Check this exported file and its signatures instead; needs no ledger.",
)
@click.option(
    "--signed-by", metavar="KEY", multiple=True, help="Public key to accept; repeat for several."
)
@output_options
def verify(
    call: Call, expected: str | None, exported: Path | None, signed_by: tuple[str, ...]
) -> int:
    """Check the hash chain of every run. Exits with 6 when it is damaged.

    With --export, checks an exported audit trail and its signature, made by one of --signed-by or
    by an approver of the profile.

    The chain alone cannot show that the end of a run was cut off. Keep the head digest that this
    command prints in another place, and pass it with --head the next time.

    \b
    Example:
      partner-tools ledger verify --head sha256:…
    """
    if unlike := next((key for key in signed_by if not is_public(key)), None):
        raise click.UsageError(
            f"--signed-by takes a public key as `approve --init` prints it, not {unlike!r}"
        )
    if exported is not None:
        return verify_export(call, exported, signed_by)
    with opened(call, handles_signals=False) as workspace:
        record = workspace.ledger
        findings = record.verify(expected)
        head, runs = record.head(), len(record.heads())
    if call.output != "text":
        told = [
            {"rule": each.rule, "message": each.message, "run": each.run, "event": each.n}
            for each in findings
        ]
        whole = {"schemaVersion": "1", "whole": not findings, "head": head}
        print_document(call.output, {**whole, "findings": told})
    else:
        for each in findings:
            say(f"{each.run or 'ledger'}: {each.message}")
        say(f"{'whole' if not findings else 'NOT whole'}, {counted(runs, 'run')}, head {head}")
        if not runs:
            where = without_password(ledger_url(call.common.ledger, workspace.config))
            tell(f"{where} is empty: there is nothing to prove; --ledger names another ledger")
    return LedgerError.exit_code if findings else 0


@command("export", group=ledger)
@click.option("--run", help="Only this run.")
@customer_option("Only this customer: tenant id, domain or company name.")
@click.option("--since", type=Moment(), help="Only events at or after this time (UTC).")
@click.option("--until", type=Moment(), help="Only events before this time (UTC).")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="jsonl",
    show_default=True,
    help="Format of the events.",
)
@click.option(
    "-o",
    "file",
    type=file_path(),
    help="Write to this file, readable only by you, instead of printing.",
)
@click.option("--sign", is_flag=True, help="Sign the file with the key of `approve --init`.")
@key_option("Your signing key.")
def export(
    call: Call,
    file: Path | None,
    sign: bool,
    key_file: Path | None,
    run: str | None,
    customer: str | None,
    since: datetime | None,
    until: datetime | None,
    form: str,
) -> int:
    """Print the audit trail: who did what, when, with correlation ids.

    \b
    Example:
      partner-tools ledger export --customer contoso.com -o audit.jsonl
    """
    if sign and file is None:
        raise click.UsageError("--sign needs a file to sign: name one with -o")
    key = unlock_key(key_file, load_config(call.common)) if sign else None
    with opened(call, handles_signals=False) as workspace:
        record = workspace.ledger
        events = record.export(
            run=None if run is None else record.run(run).run,
            customer=None if customer is None else workspace.tenant_of(customer),
            since=since,
            until=until,
        )
        first = next(events, None)
        found = () if first is None else chain((first,), events)
        if file is not None:
            write_export(found, form, file)
            tell(f"written to {file}")
        else:
            for line in lines_of(found, form):
                click.echo(line, nl=False)
        if first is None:
            tell("no event matches; `partner-tools runs` lists the runs")
        tell(f"head {record.head()}")
    if key is not None and file is not None:
        tell(f"signed: {sign_export(file, key)}")
    return 0


@command("purge", group=ledger)
@click.option(
    "--before", type=Moment(), required=True, help="Purge runs that ended before this time (UTC)."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(call: Call, before: datetime, yes: bool) -> int:
    """Replace the payloads of old runs by their digests. The chains still verify.

    \b
    Example:
      partner-tools ledger purge --before 2026-01-01 --yes
    """
    if not yes:
        require_terminal(
            "old payloads would be purged for good", "pass --yes to confirm", rule="no-terminal"
        )
        agree(f"Purge runs that ended before {before:%Y-%m-%d}?", "nothing was purged")
    with opened(call, handles_signals=False) as workspace:
        count = workspace.ledger.purge(before, now())
    click.echo(f"{counted(count, 'run')} purged")
    return 0


@command("migrate", group=ledger)
@click.argument("target", metavar="URL", type=LedgerAddress())
def migrate(call: Call, target: str) -> int:
    """Copy the ledger to an empty one: SQLite to PostgreSQL or back.

    \b
    Example:
      partner-tools ledger migrate postgresql+psycopg://ledger@db/partner_tools
    """
    with opened(call, handles_signals=False) as workspace:
        click.echo(f"copied, head {workspace.copy_ledger(target)}")
        tell("next: name the copy with --ledger, PARTNER_TOOLS_LEDGER or `ledger` in the profile")
    return 0


@command("roles", group=ledger)
@click.option(
    "--bind",
    multiple=True,
    metavar="LOGIN=DEPOT",
    help="Restrict a login to this depot; repeat for several.",
)
@click.option("--unbind", multiple=True, metavar="LOGIN", help="Let a login see all depots again.")
def roles(call: Call, bind: tuple[str, ...], unbind: tuple[str, ...]) -> None:
    """Set up the fleet's queue and roles in PostgreSQL.

    Run it as the owner of the database. Run it again after you created a role by hand.

    \b
    Example:
      partner-tools ledger roles --bind leipzig_station=leipzig
    """
    bindings: dict[str, list[str]] = {login: [] for login in unbind}
    for pair in bind:
        login, _, depot = pair.partition("=")
        if not (login and depot):
            raise click.UsageError(f"--bind takes LOGIN=DEPOT, not {pair!r}")
        bindings.setdefault(login, []).append(depot)
    with opened(call, handles_signals=False) as workspace:
        from partner_tools.fleet.submission import set_up

        bound = set_up(workspace.ledger, bindings)
        strangers = workspace.ledger.bound_strangers()
    for login, depot in bound:
        click.echo(f"{clean(login)} sees {clean(depot)}")
    for login in strangers:
        tell(f"note: the server has no login {login}: misspelt, or not created yet")
    tell("grant partner_tools_submit, partner_tools_worker or partner_tools_auditor to each login")


def verify_export(call: Call, file: Path, signed_by: tuple[str, ...]) -> int:
    """Check an exported file and its signatures; the exit code."""
    rule = approval_rule(load_config(call.common))
    trusted = {key: key for key in signed_by} or {each.key: each.name for each in rule.approvers}
    found = check_export(file, trusted, has_to_be_signed=bool(signed_by))
    if call.output != "text":
        print_document(call.output, found.document)
        return found.exit_code
    for each in found.findings:
        say(each)
    if found.findings and not trusted:
        tell("next: name the signer's public key with --signed-by, or in approval.approvers")
    by = (
        f"signed by {', '.join(found.signed_by)}" if found.signed_by else "no signature was checked"
    )
    whole = "NOT whole" if found.findings else "whole"
    say(f"{whole}, {counted(found.events, 'event')}, {by}")
    return found.exit_code
