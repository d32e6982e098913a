"""A wire profile is refused where it is unknown, unsafe or would carry a tenant."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from partner_tools.clients.oem.profile import (
    AuthMode,
    BlankStyle,
    MatchKey,
    Profile,
    ResponseMode,
    TenantScope,
    at_base_url,
)
from partner_tools.errors import GuardError, InputError
from partner_tools.intake.schema import load_schema
from tests.clients.oem_profiles import faults, plain_profile, profile_of

SAMPLES = Path(__file__).parents[3] / "samples"


@pytest.mark.parametrize(
    ("sample", "mode", "xml"),
    [
        ("oem-sync", ResponseMode.SYNC, False),
        ("oem-ack-list", ResponseMode.ACK_LIST, True),
        ("oem-location", ResponseMode.LOCATION, False),
    ],
)
def test_the_samples_are_read(sample: str, mode: ResponseMode, xml: bool) -> None:
    """Each shipped sample fits the schema and says what its name promises."""
    profile = profile_of((SAMPLES / f"{sample}.toml").read_text(encoding="utf-8"))
    assert (mode, xml) == (profile.response.mode, profile.is_xml)
    assert profile.base_url == ""
    assert profile.label == "assumed-v0"


def test_an_empty_profile_has_the_defaults_of_the_sample() -> None:
    """What the sync sample spells out is what is in force without it."""
    spelled = profile_of((SAMPLES / "oem-sync.toml").read_text(encoding="utf-8"))
    silent = profile_of('[oem]\n[oem.auth]\nclient_cert = "depot.pem"')
    assert silent == dataclasses.replace(spelled, name="", codes=())


def test_values_arrive_typed() -> None:
    """Enumerations, lists and tables become what the client works with."""
    profile = profile_of(
        """
        [oem]
        base_url = "https://oem.example"
        extra_headers = { X-Oem = "fabrikam" }
        profile_confirmed = true
        [oem.body]
        tenant_scope = "both"
        blank_style = "null"
        static_fields = { Action = "Deregister", Version = 2, Dry = false }
        [oem.auth]
        mode = "mtls+entra"
        client_cert = "a.pfx"
        [oem.response]
        match_on = ["serial"]
        [oem.response.fields]
        serial = "serialNumber"
        """
    )
    assert profile.body.tenant_scope is TenantScope.BOTH
    assert profile.body.blank_style is BlankStyle.NULL
    assert profile.body.static_fields == (("Action", "Deregister"), ("Version", 2), ("Dry", False))
    assert profile.auth.mode is AuthMode.BOTH
    assert profile.response.match_on == (MatchKey.SERIAL,)
    assert profile.response.fields.serial == "serialNumber"
    assert profile.response.fields.pkid == "ProductKeyID"
    assert profile.extra_headers == (("X-Oem", "fabrikam"),)
    assert profile.label == "confirmed"


@pytest.mark.parametrize(
    ("oem", "tables", "part"),
    [
        ("colour = 'blue'", "", "property that the schema does not know"),
        ("", "[oem.response]\nok_valeus = ['x']", "property that the schema does not know"),
        ("batch_limit = 1001", "", "oem.batch_limit"),
        ("batch_limit = 0", "", "oem.batch_limit"),
        ("method = 'DELETE'", "", "none of"),
        ("path = 'no-slash'", "", "pattern"),
        ("media_type = 'text/csv'", "", "pattern"),
        ("base_url = 'http://oem.example'", "", "plain http"),
        ("base_url = 'https://user:pw@oem.example'", "", "credentials"),
        ("extra_headers = { Authorization = 'Bearer x' }", "", "cannot be set"),
        ('extra_headers = { X-A = "a\\r\\nX-B: c" }', "", "forbids"),
        ("extra_headers = { ms-correlationid = 'x' }", "", "twice"),
        ("xml_root = 'no name'", "", "pattern"),
        ("media_type = 'application/xml'\nxml_root = '1st'", "", "XML element"),
        ("", "[oem.fields]\nhardware_hash = 'HardwareHash'", "hardware_hash"),
        ("", "[oem.fields]\nserial = 'ModelName'", "two fields"),
        ("", "[oem.identity]\norder = []", "is empty"),
        ("", "[oem.identity]\norder = ['hash']", "none of"),
        ("", "[oem.response]\nmode = 'ack_list'", "detail_path"),
        ("", "[oem.response]\nmissing_item = 'removed'", "missing_item"),
        ("", "[oem.response]\npending_values = ['success']", "success and as something else"),
        ("", "[oem.poll]\ndetail_path = '/acks'", "{id}"),
        ("", "[oem.poll]\ninterval_s = 300", "max_interval_s"),
        ("", "[oem.preflight]\nenabled = true", "without a path"),
        ("", "[oem.body]\ndevices_key = ''\ntenant_scope = 'both'", "bare array"),
        ("", "[oem.codes]\nZtdDeviceNotFound = 'removed'", "none of"),
        ("timeout_s = nan", "", "nan is not a number"),
        ("", "[oem.poll]\ndeadline_s = inf", "inf is not a number"),
        ("extra_headers = { Content-Encoding = 'gzip' }", "", "cannot be set"),
        ("extra_headers = { X-HTTP-Method-Override = 'GET' }", "", "cannot be set"),
    ],
)
def test_what_cannot_be_kept_is_refused(oem: str, tables: str, part: str) -> None:
    """Exit 3, and the message names what is wrong."""
    with pytest.raises(InputError) as caught:
        plain_profile(oem, tables)
    assert part in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("values", ["[]", '[""]', '["Success", " "]', '["Success", ""]'])
def test_an_empty_status_is_never_success(values: str) -> None:
    """Whatever the schema says: silence confirms nothing."""
    text = f"[oem]\n[oem.auth]\nmode = 'none'\n[oem.response]\nok_values = {values}"
    with pytest.raises(InputError):
        profile_of(text)
    from partner_tools.clients.oem.profile import read_profile

    with pytest.raises(InputError) as caught:
        read_profile(text, lambda _document: ())
    assert caught.value.rule == "empty-success"


@pytest.mark.parametrize(
    ("oem", "tables"),
    [
        ("path = '/tenants/fabrikam/AutopilotDeviceRegistration'", ""),
        ("path = '/x/contoso.onmicrosoft.com'", ""),
        ("path = '/x?TenantId=1'", ""),
        ("path = '/x?%74enant_id=1'", ""),
        ("path = '/x?%2574enant_id=1'", ""),
        ("base_url = 'https://oem.example/TenantDomain/contoso'", ""),
        ("extra_headers = { X-Tenant-Id = '1' }", ""),
        ("extra_headers = { x_tenant = '1' }", ""),
        ("extra_headers = { X-Org = 'contoso.onmicrosoft.com' }", ""),
        ("correlation_header = 'X-TenantID'", ""),
        ("", "[oem.body]\nstatic_fields = { TenantID = 'f8cdef31' }"),
        ("", "[oem.body]\nstatic_fields = { tenant-domain = 'contoso.com' }"),
        ("", "[oem.body]\nstatic_fields = { 'Ｔｅｎａｎｔ' = 'contoso.com' }"),  # noqa: RUF001
        (
            "",
            "[oem.body]\nstatic_fields = { 'Ten\\u200bantID' = '1' }".replace("'T", '"T').replace(
                "ID'", 'ID"'
            ),
        ),
        ("", "[oem.body]\nstatic_fields = { Note = 'TenantID=1' }"),
        ("", "[oem.body]\ntenant_id_field = 'Org'\nstatic_fields = { org = 'fabrikam' }"),
        ("", "[oem.body]\ntenant_id_field = 'SerialNumber'"),
        ("", "[oem.body]\ntenant_domain_field = 'serial_number'"),
        ("", "[oem.fields]\nserial = 'TenantID'"),
        ("", "[oem.fields]\nitem_ref = 'TenantDomain'"),
        ("", "[oem.body]\ndevices_key = 'Tenants'"),
        ("", "[oem.body]\ntenant_id = 'f8cdef31'"),
        ("tenant_domain = 'contoso.com'", ""),
        ("", "[oem.poll]\nlist_path = '/acks?tenant=contoso'"),
        ("", "[oem.preflight]\nenabled = true\npath = '/tenant/validate'"),
        ("path = '/x/8F6D2F0A-4C0F-4F63-9F0E-3A1F5C7D9B21'", ""),
        ("path = '/x?o=8f6d2f0a4c0f4f639f0e3a1f5c7d9b21'", ""),
        ("path = '/x?o=%257B8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21%257D'", ""),
        ("path = '/x?o=OGY2ZDJmMGEtNGMwZi00ZjYzLTlmMGUtM2ExZjVjN2Q5YjIx'", ""),
        ("xml_namespace = 'urn:8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21'", ""),
        ("extra_headers = { X-Org = 'eyJUZW5hbnRJRCI6ICJhYmMifQ==' }", ""),
        ("", "[oem.poll]\nlist_path = '/acks?o=8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21'"),
        ("", "[oem.body]\nstatic_fields = { Org = '8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21' }"),
        ("", "[oem.body]\nstatic_fields = { Note = '{\"\\u0054enantID\":1}' }"),
        ("", "[oem.body]\nstatic_fields = { Note = '<&#84;enantID>1' }"),
        ("", "[oem.body]\nstatic_fields = { codes = 'TenantID=1' }"),
        ("extra_headers = { entra_tenant = 'fabrikam' }", ""),
        (
            "extra_headers = { X-Org = 'fabrikam.example' }",
            "entra_tenant = 'Fabrikam.example'",
        ),
    ],
)
def test_a_profile_that_carries_a_tenant_is_refused(oem: str, tables: str) -> None:
    """Exit 8 before anything else is looked at, in whatever spelling it comes."""
    with pytest.raises(GuardError) as caught:
        plain_profile(oem, tables)
    assert caught.value.exit_code == 8
    assert caught.value.rule == "tenant-not-blank"


def test_codes_may_be_named_after_tenants() -> None:
    """Names in an answer carry nothing out."""
    profile = plain_profile(tables="[oem.codes]\nZtdDeviceAssignedToOtherTenant = 'not-owned'")
    assert len(profile.codes) == 1


def test_there_is_no_default_address() -> None:
    """A profile without one needs the environment's."""
    with pytest.raises(InputError) as caught:
        at_base_url(plain_profile(), None)
    assert caught.value.rule == "no-base-url"
    assert (
        at_base_url(plain_profile(), "http://127.0.0.1:8080/").base_url == "http://127.0.0.1:8080"
    )


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://oem.example", InputError),
        ("https://oem.example", InputError),
        ("https://oem.example/tenantid/1", GuardError),
    ],
)
def test_an_address_of_the_environment_is_checked_too(url: str, kind: type[Exception]) -> None:
    """Plain HTTP, and no sign-in at all, are for loopback alone; a tenant is for nobody."""
    with pytest.raises(kind):
        at_base_url(plain_profile(), url)


def test_what_a_token_is_minted_with_is_named_wholly() -> None:
    """A credential without a scope would be sent to ask for a token for nothing."""
    with pytest.raises(InputError, match="entra_scope"):
        profile_of(
            '[oem.auth]\nmode = "entra"\nentra_tenant = "partner.example"\n'
            'entra_client_id = "5d0b7f2e"\nentra_credential_env = "DEPOT_SECRET"\n'
        )
    assert profile_of('[oem.auth]\nmode = "entra"\n').auth.needs_token  # one is handed in


def test_a_broken_file_says_where() -> None:
    """The line is named."""
    with pytest.raises(InputError, match="line 2"):
        profile_of("[oem]\npath = \n")


def test_the_schema_and_the_dataclasses_know_the_same_keys() -> None:
    """Every key of the schema reaches the profile, and every field has a key."""
    tables = load_schema("oem-profile")["properties"]["oem"]["properties"]
    scalars = {name for name, rule in tables.items() if "properties" not in rule}
    own = {field.name for field in dataclasses.fields(Profile)}
    in_tables = {"identity_order", "send_both", "xml"}
    nested = {name for name, rule in tables.items() if "properties" in rule} - {"identity"}
    scalars = {{"absent": "absent_is_ok"}.get(name, name) for name in scalars}
    assert scalars - {"xml_root", "xml_device", "xml_namespace"} == own - nested - in_tables
    for name in nested:
        part = getattr(Profile(), name)
        known = {field.name for field in dataclasses.fields(part)}
        assert (
            set(tables[name]["properties"]) - {"hardware_hash", "missing_item", "min_tls"} == known
        )


def test_the_schema_states_the_defaults_of_the_sample() -> None:
    """Every example in the schema is itself accepted."""
    for example in load_schema("oem-profile")["examples"]:
        assert faults(example) == []
    assert faults(tomllib.loads("[oem]\n")) == []
