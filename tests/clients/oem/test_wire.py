"""The bytes of a call: exactly one way to name each device, a blank tenant, and never a hash."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partner_tools.clients.oem.profile import IdentityKind
from partner_tools.clients.oem.wire import Entry, build_body, elements, kinds, read_json, read_xml
from partner_tools.model import Identity
from tests.clients.oem_profiles import plain_profile

FULL = Identity(
    serial_number="00012",
    manufacturer="Fabrikam, Inc.",
    model="Book",
    product_key_id="0305670000001",
    hardware_hash="T0Esecret",
)
TUPLE = Identity(serial_number="1E5", manufacturer="LENOVO", model="20XW")


@pytest.mark.parametrize(
    ("oem", "tables", "expected"),
    [
        (
            "",
            "",
            '{"Devices":[{"LineItemNumber":"1","ProductKeyID":"0305670000001","TenantID":"",'
            '"TenantDomain":""},{"LineItemNumber":"2","SerialNumber":"1E5",'
            '"OEMManufacturerName":"LENOVO","ModelName":"20XW","TenantID":"","TenantDomain":""}]}',
        ),
        (
            "",
            "[oem.body]\ntenant_scope = 'batch'\nblank_style = 'null'\ndevices_key = 'D'\n"
            "static_fields = { Action = 'x', Version = 2, Dry = false }\n"
            "[oem.fields]\nitem_ref = ''",
            '{"Action":"x","Version":2,"Dry":false,"TenantID":null,"TenantDomain":null,'
            '"D":[{"ProductKeyID":"0305670000001"},'
            '{"SerialNumber":"1E5","OEMManufacturerName":"LENOVO","ModelName":"20XW"}]}',
        ),
        (
            "",
            "[oem.body]\nblank_style = 'omit'\ndevices_key = ''\n"
            "[oem.identity]\norder = ['tuple', 'pkid']",
            '[{"LineItemNumber":"1","SerialNumber":"00012",'
            '"OEMManufacturerName":"Fabrikam, Inc.","ModelName":"Book"},'
            '{"LineItemNumber":"2","SerialNumber":"1E5",'
            '"OEMManufacturerName":"LENOVO","ModelName":"20XW"}]',
        ),
        (
            "media_type = 'application/xml'\nxml_namespace = 'urn:oem'",
            "[oem.body]\nblank_style = 'null'",
            '<?xml version="1.0" encoding="utf-8"?><AutopilotDeviceRegistration xmlns="urn:oem" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Devices><Device>'
            "<LineItemNumber>1</LineItemNumber><ProductKeyID>0305670000001</ProductKeyID>"
            '<TenantID xsi:nil="true"></TenantID><TenantDomain xsi:nil="true"></TenantDomain>'
            "</Device><Device><LineItemNumber>2</LineItemNumber><SerialNumber>1E5</SerialNumber>"
            "<OEMManufacturerName>LENOVO</OEMManufacturerName><ModelName>20XW</ModelName>"
            '<TenantID xsi:nil="true"></TenantID><TenantDomain xsi:nil="true"></TenantDomain>'
            "</Device></Devices></AutopilotDeviceRegistration>",
        ),
        (
            "media_type = 'text/xml; charset=utf-8'\nxml_root = 'R'\nxml_device = 'D'",
            "[oem.body]\ndevices_key = ''\ntenant_scope = 'both'\n"
            "static_fields = { Dry = true }\n[oem.fields]\nitem_ref = ''",
            '<?xml version="1.0" encoding="utf-8"?><R><Dry>true</Dry><TenantID></TenantID>'
            "<TenantDomain></TenantDomain><D><ProductKeyID>0305670000001</ProductKeyID>"
            "<TenantID></TenantID><TenantDomain></TenantDomain></D><D>"
            "<SerialNumber>1E5</SerialNumber><OEMManufacturerName>LENOVO</OEMManufacturerName>"
            "<ModelName>20XW</ModelName><TenantID></TenantID><TenantDomain></TenantDomain></D></R>",
        ),
    ],
)
def test_the_body_is_what_the_profile_says(oem: str, tables: str, expected: str) -> None:
    """Byte for byte: leading zeros and numbers stay texts, and no hash is among them."""
    entries = [Entry(ref="1", identity=FULL), Entry(ref="2", identity=TUPLE)]
    assert build_body(plain_profile(oem, tables), entries).decode() == expected


@pytest.mark.parametrize(
    ("order", "both", "identity", "expected"),
    [
        ("'pkid','tuple'", "false", FULL, ["pkid"]),
        ("'tuple','pkid'", "false", FULL, ["tuple"]),
        ("'pkid','tuple'", "true", FULL, ["pkid", "tuple"]),
        ("'pkid','tuple'", "false", TUPLE, ["tuple"]),
        ("'pkid'", "false", TUPLE, []),
        ("'pkid','tuple'", "true", Identity(serial_number="S", model="M"), []),
        ("'pkid','tuple'", "true", Identity(hardware_hash="T0E"), []),
    ],
)
def test_the_first_complete_identifier_is_sent(
    order: str, both: str, identity: Identity, expected: list[str]
) -> None:
    """In the profile's order; both where it says so; a hash is none."""
    profile = plain_profile(tables=f"[oem.identity]\norder = [{order}]\nsend_both = {both}")
    assert kinds(profile, identity) == tuple(IdentityKind(kind) for kind in expected)


SENDABLE = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1
)


@settings(max_examples=100)
@given(serial=SENDABLE, maker=SENDABLE, model=SENDABLE)
def test_every_text_arrives_as_it_was(serial: str, maker: str, model: str) -> None:
    """In both media, blanks at the edges included: values have to match the firmware exactly."""
    identity = Identity(serial_number=serial, manufacturer=maker, model=model)
    entries = [Entry(ref="1", identity=identity)]
    (device,) = read_json(build_body(plain_profile(), entries))["Devices"]
    found = [device[name] for name in ("SerialNumber", "OEMManufacturerName", "ModelName")]
    assert found == [serial, maker, model]
    root = read_xml(build_body(plain_profile("media_type = 'application/xml'"), entries))
    texts = {element.name: element.text for element in elements(root)}
    assert [texts["SerialNumber"], texts["OEMManufacturerName"], texts["ModelName"]] == found


def test_equal_entries_give_equal_bytes() -> None:
    """So that a doubt can be settled by the same body."""
    entries = [Entry(ref=str(n), identity=TUPLE) for n in range(50)]
    profile = plain_profile()
    assert build_body(profile, entries) == build_body(profile, list(entries))
    assert len(json.loads(build_body(profile, entries))["Devices"]) == 50
