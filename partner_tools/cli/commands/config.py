"""`config`: writes a configuration by asking, and shows the one in force."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from partner_tools import FILE_NAME, SECRETS, Config
from partner_tools.cli.app import Call, command
from partner_tools.cli.console import clean, fitted, print_document, tell, without_password
from partner_tools.cli.help_pages import Whole
from partner_tools.cli.options import Common, OutputFile, output_options
from partner_tools.cli.signals import asking, require_terminal
from partner_tools.cli.wiring import load_config
from partner_tools.errors import InputError, PartnerToolsError
from partner_tools.files import write_private
from partner_tools.model import PARTNER_CHANNELS, ChannelName
from partner_tools.strict_json import read_toml
from partner_tools.workspace.environment import ledger_url, user_config_folder

_QUESTIONS = read_toml(
    Path(__file__).parents[1].joinpath("config_questions.toml").read_text(encoding="utf-8")
)


@click.group("config", cls=Whole)
def config() -> None:
    """Write and show the configuration. It never contains secrets.

    \b
    Example:
      partner-tools config show
    """


@command("show", group=config)
@output_options
def show(call: Call) -> int:
    """Show the settings in force and which secrets are set, never their values.

    \b
    Example:
      partner-tools config show --profile nightly
    """
    found = load_config(call.common)
    settings = dict(found.settings)
    if (named := found.text("ledger")) is not None:
        settings["ledger"] = without_password(named)
    secrets = {name: "set" if name in found.secrets else "not set" for name in SECRETS}
    document = {
        "profile": found.profile,
        "file": None if found.file is None else str(found.file),
        "ledger": without_password(ledger_url(call.common.ledger, found)),
        "settings": settings,
        "secrets": secrets,
    }
    if call.output != "text":
        print_document(call.output, {"schemaVersion": "1", **document})
        return 0
    click.echo(f"profile: {document['profile']}")
    click.echo(clean(f"file: {document['file'] or 'none'}"))
    click.echo(clean(f"ledger: {document['ledger']}"))
    for name, value in _flat(dict(found.settings)):
        if name != "ledger":
            click.echo(clean(f"{name} = {value}"))
    for name, state in secrets.items():
        click.echo(f"{name}: {state}")
    return 0


@command("init", group=config)
@click.option(
    "-o",
    "file",
    type=OutputFile(),
    help="File to write. [default: the user's configuration folder]",
)
@click.option("--no-test", is_flag=True, help="Do not test the answers, for example offline.")
def init(call: Call, file: Path | None, no_test: bool) -> int:
    """Ask for the settings, explain and test each one, and write the configuration.

    It does not ask for secrets; they come from the environment. Ctrl-C keeps the answers for the
    next time.

    \b
    Example:
      partner-tools config init
    """
    require_terminal(
        "config init asks questions",
        "set PARTNER_TOOLS_TENANT, PARTNER_TOOLS_CLIENT_ID and PARTNER_TOOLS_CLIENT_SECRET, or "
        f"write {FILE_NAME} by hand: `partner-tools schema config` describes it",
        rule="no-terminal",
    )
    target = file or user_config_folder() / FILE_NAME
    if target.exists():
        raise InputError(
            f"{str(target)!r} already exists",
            rule="config-exists",
            remedy="name another file with -o, or edit that one",
        )
    draft = target.with_name(f"{target.name}.unfinished")
    questions = Questions(target=target, base=load_config(Common()), is_tested=not no_test)
    questions.take_up(draft)
    try:
        with asking():
            questions.ask_all()
    except click.Abort:
        if questions.answers:
            write_private(draft, questions.as_toml().encode())
            tell(f"your answers are kept in {draft}; `config init` continues with them")
        raise
    write_private(target, questions.as_toml().encode())
    draft.unlink(missing_ok=True)
    tell(f"written to {target}")
    named = ["--config", str(target)] if file else []
    customer = None if no_test else _a_customer(target)
    tell(f"next: {call.again('doctor', *named, *(['--customer', customer] if customer else []))}")
    return 0


def _a_customer(target: Path) -> str | None:
    """A customer of this partner to try the configuration with, where one can be obtained."""
    from partner_tools import open_workspace

    with suppress(PartnerToolsError), open_workspace(config=target) as workspace:
        if workspace.config.text("via") == ChannelName.PARTNER_CENTER:
            return next((each.domain for each in workspace.customers() if each.domain), None)
    return None


@dataclass(slots=True, kw_only=True)
class Questions:
    """The questions of `config init`: each says what it is for, and each answer is tested at once.

    `answers` are the tables of the default profile, its own values under an empty name; `earlier`
    are those of an interview that was interrupted. `target` is the file for the profile.
    """

    target: Path
    base: Config
    is_tested: bool
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    earlier: dict[str, dict[str, str]] = field(default_factory=dict)

    def take_up(self, draft: Path) -> None:
        if draft.is_file():
            read = read_toml(draft.read_text(encoding="utf-8")).get("default", {})
            tables = {name: value for name, value in read.items() if isinstance(value, dict)}
            own = {name: value for name, value in read.items() if name not in tables}
            self.earlier = {"": own, **tables}

    def ask_all(self) -> None:
        how = "Every answer is tested at once; " if self.is_tested else ""
        tell(f"{how}Ctrl-C keeps your answers for the next time.\n")
        channels = [name.value for name in PARTNER_CHANNELS]
        if self._ask("", "via", choices=channels, default=channels[0]) == "oem-direct":
            self._ask_for_wire_profile()
        else:
            self._ask_for_auth()
        self._ask("partner", "name")
        self._ask("partner", "contact")

    def as_toml(self) -> str:
        """The default profile as TOML; answers that were left blank are left out."""
        lines = []
        for table, values in self.answers.items():
            if any(values.values()):
                lines.append(f"[default.{table}]" if table else "[default]")
                # A TOML basic string; JSON's escapes are a subset of TOML's.
                lines += [
                    f"{key} = {json.dumps(value, ensure_ascii=False)}"
                    for key, value in values.items()
                    if value
                ]
                lines.append("")
        return "\n".join(lines)

    def _ask_for_wire_profile(self) -> None:
        from partner_tools.workspace.sign_in import read_wire_profile

        def test(path: str) -> str:
            settings = {"oem": {"profile": str(Path(path).absolute())}}
            read_wire_profile(Config(settings=settings))
            return "it can be read"

        path = self._ask("oem", "profile", test)
        self.answers["oem"]["profile"] = str(Path(path).absolute())

    def _ask_for_auth(self) -> None:
        from partner_tools.workspace.sign_in import channel_tokens, find_app, find_tenant

        def test_tenant(answer: str) -> str:
            find_tenant(self.base, answer)
            return "there is such a tenant"

        def test_app(answer: str) -> str:
            find_app(self.base, tenant, answer)
            return "the tenant knows the app, as far as can be told without a secret"

        def test_certificate(path: str) -> str:
            named = {"certificate": str(Path(path).absolute())} if path else {}
            profile = replace(
                self.base,
                file=self.target,
                settings={**self.base.settings, "auth": {**self.answers["auth"], **named}},
                secrets={
                    name: text
                    for name, text in self.base.secrets.items()
                    if name != "PARTNER_TOOLS_ACCESS_TOKEN"
                },
            )
            channel_tokens(profile).token()
            return "signed in"

        tenant = self._ask("auth", "tenant", test_tenant)
        client_id = self._ask("auth", "client_id", test_app)
        if self._ask("auth", "mode", choices=["app", "app+user"], default="app") == "app+user":
            where = f"https://login.microsoftonline.com/{tenant}/adminconsent?client_id={client_id}"
            tell("\nLet an administrator of your tenant consent to `user_impersonation` once:")
            tell(f"  {where}")
            tell("then: partner-tools auth login")
            return
        path = self._ask("auth", "certificate", test_certificate, default="")
        self.answers["auth"]["certificate"] = str(Path(path).absolute()) if path else ""

    def _ask(
        self,
        table: str,
        key: str,
        test: Callable[[str], str] | None = None,
        *,
        choices: Sequence[str] = (),
        default: str | None = None,
    ) -> str:
        """Say what a setting is for, and ask until the answer passes its test, or is kept."""
        question = _QUESTIONS[table or "default"][key]
        if "about" in question:
            click.echo(fitted(question["about"], sys.stderr, indent=0), err=True)
        before = self.earlier.get(table, {}).get(key) or default
        while True:
            answer = click.prompt(
                question.get("prompt", key),
                err=True,
                default=before,
                show_default=bool(before),
                type=click.Choice(choices) if choices else str,
            )
            answer = str(answer).strip()
            if not answer and default is None:
                continue
            if test is None or not self.is_tested or _passes(test, answer):
                break
            if click.confirm("  Keep it anyway?", default=False, err=True):
                break
        self.answers.setdefault(table, {})[key] = answer
        return answer


def _passes(test: Callable[[str], str], answer: str) -> bool:
    try:
        passed = test(answer)
    except PartnerToolsError as error:
        tell(f"  {error}")
        if error.remedy:
            tell(f"  next: {error.remedy}")
        return False
    tell(f"  ok: {passed}")
    return True


def _flat(settings: dict[str, object], prefix: str = "") -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for name, value in settings.items():
        path = f"{prefix}{name}"
        pairs += _flat(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return pairs
