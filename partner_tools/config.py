"""The configuration: one TOML table per profile, checked by `schemas/config.schema.json`.

Precedence: flag, environment, file, default. It never contains secrets: they come from the
environment or the operating system's credential store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from partner_tools.errors import InputError
from partner_tools.files import refuse_exposed
from partner_tools.strict_json import InvalidTextError, read_toml

FILE_NAME = "partner-tools.toml"
ROOT = 0
"""Of the administrator, who need not plant anything."""
DEFAULT_PROFILE = "default"
DEFAULT_CONCURRENCY = 32
DEFAULT_TIMEOUT_SECONDS = 180.0
"""Microsoft's own SDK waits three minutes, "increased to contend with server latency"
(Partner-Center-PowerShell change log, 3.0.10)."""

Validate = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Gives the path and the message of each thing that the schema rejects."""

VARIABLES: Mapping[tuple[str, ...], str] = {
    ("ledger",): "PARTNER_TOOLS_LEDGER",
    ("ca_bundle",): "PARTNER_TOOLS_CA_BUNDLE",
    ("urls", "partner_center"): "PARTNER_TOOLS_PARTNER_CENTER_URL",
    ("urls", "oem_direct"): "PARTNER_TOOLS_OEM_DIRECT_URL",
    ("urls", "graph"): "PARTNER_TOOLS_GRAPH_URL",
    ("urls", "login"): "PARTNER_TOOLS_LOGIN_URL",
    ("oem", "profile"): "PARTNER_TOOLS_OEM_PROFILE",
    ("auth", "tenant"): "PARTNER_TOOLS_TENANT",
    ("auth", "client_id"): "PARTNER_TOOLS_CLIENT_ID",
    ("partner", "name"): "PARTNER_TOOLS_PARTNER_NAME",
    ("partner", "contact"): "PARTNER_TOOLS_PARTNER_CONTACT",
}
"""The settings that an environment variable may give, over the file."""

SECRETS: Mapping[str, str] = {
    "PARTNER_TOOLS_ACCESS_TOKEN": "a bearer token for the channel, minted elsewhere",
    "PARTNER_TOOLS_GRAPH_TOKEN": "the same for Microsoft Graph in the customer's tenant",
    "PARTNER_TOOLS_CLIENT_SECRET": "the secret of the app registration",
    "PARTNER_TOOLS_CERTIFICATE_PASSWORD": "the password of a PFX file or an encrypted key",
    "PARTNER_TOOLS_REFRESH_TOKEN": "a refresh token of the secure application model, used once",
    "PARTNER_TOOLS_SIGNING_PASSPHRASE": "the passphrase of your signing key",
}
"""The secrets, which only the environment may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of one profile. `file` is their file, None if there is none."""

    profile: str = DEFAULT_PROFILE
    file: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, *path: str) -> Any:
        """A setting by its path, None if nothing says it."""
        value: Any = self.settings
        for name in path:
            if not isinstance(value, Mapping) or name not in value:
                return None
            value = value[name]
        return value

    def text(self, *path: str) -> str | None:
        """A setting that is text."""
        value = self.get(*path)
        return None if value is None else str(value)

    @property
    def concurrency(self) -> int:
        """Requests in flight at most."""
        return int(self.get("limits", "concurrency") or DEFAULT_CONCURRENCY)

    @property
    def timeout(self) -> tuple[float, float]:
        """Seconds to connect, and to wait for the next byte of an answer."""
        patience = float(self.get("limits", "timeout") or DEFAULT_TIMEOUT_SECONDS)
        return min(10.0, patience), patience

    def path(self, *path: str) -> Path | None:
        """A setting that is a path; a relative one is relative to the configuration file."""
        text = self.text(*path)
        if text is None:
            return None
        base = self.file.parent if self.file else Path()
        return base / Path(text).expanduser()


def read_config(
    *,
    named: Path | None,
    profile: str | None,
    environment: Mapping[str, str],
    user_folder: Path,
    validate: Validate,
    user: int | None = None,
) -> Config:
    """Read the configuration file, if there is one, and what the environment says over it.

    `named` is `--config`; else `PARTNER_TOOLS_CONFIG`, else `partner-tools.toml` in the working
    directory, else in `user_folder`. `user` is the id of who runs this, where systems have one.
    Raises InputError for a file or profile that is not there or not valid, and for a file in the
    working directory that belongs to another user.
    """
    file = _find(named, environment, user_folder, user)
    profiles = _read(file, validate) if file else {}
    wanted = profile or environment.get("PARTNER_TOOLS_PROFILE")
    settings = _profile(profiles, wanted, file)
    return Config(
        profile=wanted or DEFAULT_PROFILE,
        file=file,
        settings=_overlaid(settings, environment),
        secrets={name: environment[name] for name in SECRETS if environment.get(name)},
    )


def _find(
    named: Path | None, environment: Mapping[str, str], user_folder: Path, user: int | None
) -> Path | None:
    given = named or _path(environment.get("PARTNER_TOOLS_CONFIG"))
    if given is not None:
        if not given.is_file():
            raise InputError(
                f"there is no configuration file {str(given)!r}",
                rule="config-missing",
                remedy="correct --config or PARTNER_TOOLS_CONFIG; `config init` writes one",
            )
        refuse_exposed(given, "the configuration", user)
        return given
    for found in (Path(FILE_NAME), user_folder / FILE_NAME):
        if found.is_file():
            _refuse_planted(found, user)
            refuse_exposed(found, "the configuration", user)
            return found
    return None


def _refuse_planted(file: Path, user: int | None) -> None:
    """Raise InputError where another user may have put the file there for this user to find.

    It says where secrets go. A link counts as whoever made it, and as what it leads to.
    """
    owners = {file.lstat().st_uid, file.stat().st_uid}
    if user is not None and not owners <= {user, ROOT}:
        raise InputError(
            f"the configuration {str(file)!r} belongs to another user, and was not named "
            "explicitly",
            rule="config-planted",
            remedy="work in a folder of your own; or, if you trust this file, name it with "
            f"--config {file}",
        )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _read(file: Path, validate: Validate) -> Mapping[str, Any]:
    try:
        profiles = read_toml(file.read_text(encoding="utf-8-sig"))
    except (InvalidTextError, UnicodeDecodeError, OSError) as error:
        raise InputError(
            f"the configuration {str(file)!r} cannot be read: {error}",
            rule="config-unreadable",
            remedy="correct the file; it is TOML with one table per profile",
        ) from error
    faults = [f"{path}: {message}" for path, message in validate(profiles)]
    if faults:
        raise InputError(
            f"the configuration {str(file)!r} is not valid: {'; '.join(faults)}",
            rule="config-invalid",
            remedy="`partner-tools schema config` prints what is allowed",
        )
    return profiles


def _profile(
    profiles: Mapping[str, Any], wanted: str | None, file: Path | None
) -> Mapping[str, Any]:
    name = wanted or DEFAULT_PROFILE
    if name in profiles:
        found: Mapping[str, Any] = profiles[name]
        return found
    if wanted is None:
        return {}
    known = ", ".join(profiles) or "none"
    raise InputError(
        f"there is no profile {wanted!r} in {str(file) if file else 'any configuration file'}",
        rule="config-profile",
        remedy=f"name an existing one ({known})",
    )


def _overlaid(settings: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings with what the environment says in place of the file's."""
    merged = {
        name: dict(value) if isinstance(value, Mapping) else value
        for name, value in settings.items()
    }
    for path, variable in VARIABLES.items():
        if environment.get(variable):
            place = merged
            for name in path[:-1]:
                place = place.setdefault(name, {})
            place[path[-1]] = environment[variable]
    return merged
