"""Opens OEM Direct: the wire profile, the client certificate, the token."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from partner_tools.clients.oauth import (
    GLOBAL_LOGIN_URL,
    App,
    Certificate,
    StaticToken,
    app_only,
    unpack_pfx,
)
from partner_tools.clients.oem.client import OemDirect
from partner_tools.clients.oem.profile import Auth, Profile, read_profile
from partner_tools.clients.transport import ClientCertificate, Secret, TokenSource, Transport
from partner_tools.config import Config
from partner_tools.errors import AuthError, InputError
from partner_tools.files import refuse_exposed, this_user
from partner_tools.strict_json import read_text
from partner_tools.user_files import PROFILE_BYTES, read_document
from partner_tools.workspace.environment import now
from partner_tools.workspace.settings import named_faults
from partner_tools.workspace.sign_in import open_msal_http

HANDED_IN = "PARTNER_TOOLS_ACCESS_TOKEN"


def read_wire_profile(config: Config) -> Profile:
    """The wire profile that configuration or environment names. Raises InputError without one."""
    path = profile_path(config)
    refuse_exposed(path, "the wire profile", this_user())
    text: str = read_document(
        path,
        PROFILE_BYTES,
        what="the wire profile",
        rule="profile-unreadable",
        remedy="correct PARTNER_TOOLS_OEM_PROFILE or oem.profile",
        read=read_text,
    )
    return read_profile(text, lambda document: named_faults("oem-profile", document))


def profile_path(config: Config) -> Path:
    """Return the path of the wire profile. Raises InputError where none is configured."""
    path = config.path("oem", "profile")
    if path is None:
        raise InputError(
            "OEM Direct needs a wire profile and none is named",
            rule="profile-missing",
            remedy="set PARTNER_TOOLS_OEM_PROFILE, or oem.profile in the configuration; "
            "samples/ has three to start from",
        )
    return path


@contextmanager
def open_oem(config: Config, profile: Profile) -> Iterator[tuple[OemDirect, Transport]]:
    """The client of one OEM, over its own transport. Raises InputError without an address."""
    base_url = config.text("urls", "oem_direct") or profile.base_url
    if not base_url:
        raise InputError(
            "OEM Direct has no address: there is no default",
            rule="no-address",
            remedy="set base_url in the wire profile, or PARTNER_TOOLS_OEM_DIRECT_URL",
        )
    folder = profile_path(config).parent
    with (
        _client_certificate(profile.auth, folder) as certificate,
        Transport(
            base_url,
            tokens=oem_tokens(config, profile.auth),
            ca_bundle=_beside(profile.auth.ca_bundle, folder) or config.path("ca_bundle"),
            client_cert=certificate,
            pool_size=config.concurrency,
            timeout=(min(10.0, profile.timeout_s), profile.timeout_s),
        ) as transport,
    ):
        yield OemDirect(transport, profile, now=now), transport


MINTED = (
    f"set {HANDED_IN}, or say in the wire profile how to get one: oem.auth.entra_tenant, "
    "entra_client_id, entra_scope and entra_credential_env"
)


def oem_tokens(config: Config, auth: Auth) -> TokenSource | None:
    """The tokens that go with the calls; None where none does. Raises AuthError without any."""
    if not auth.needs_token:
        return None
    if HANDED_IN in config.secrets:
        return StaticToken(Secret(config.secrets[HANDED_IN]), name=HANDED_IN)
    named = auth.entra_credential_env or HANDED_IN
    secret = os.environ.get(named)
    if not secret:
        raise AuthError(
            f"the wire profile wants a token and {named} is not set",
            rule="no-credential",
            remedy=f"set {named}" if auth.entra_credential_env else MINTED,
        )
    app = App(
        tenant=auth.entra_tenant,
        client_id=auth.entra_client_id,
        login_url=config.text("urls", "login") or GLOBAL_LOGIN_URL,
        audience=auth.entra_scope.removesuffix("/.default"),
    )
    return app_only(app, Secret(secret), http=open_msal_http(config))


@contextmanager
def _client_certificate(auth: Auth, folder: Path) -> Iterator[ClientCertificate | None]:
    """The client certificate as PEM; a PFX file is unpacked privately while the block lasts."""
    certificate = _beside(auth.client_cert, folder)
    if not auth.needs_certificate or certificate is None:
        yield None
        return
    refuse_exposed(certificate, "the client certificate", this_user())
    text = os.environ.get(auth.key_password_env) if auth.key_password_env else None
    password = Secret(text) if text else None
    if certificate.suffix.lower() not in (".pfx", ".p12"):
        key = _beside(auth.client_key, folder)
        if key is not None:
            refuse_exposed(key, "the client's key", this_user())
        yield ClientCertificate(certificate=certificate, key=key, password=password)
        return
    with tempfile.TemporaryDirectory(prefix="partner-tools-") as private:
        unpacked = Path(private) / "client.pem"
        unpacked.touch(mode=0o600)
        unpacked.write_bytes(unpack_pfx(Certificate(path=certificate, password=password)))
        yield ClientCertificate(certificate=unpacked)


def _beside(text: str, folder: Path) -> Path | None:
    """A path of the profile; a relative one is relative to the profile."""
    return folder / Path(text).expanduser() if text else None
