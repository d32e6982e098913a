"""Handoffs as files: their names, who may read them, and that they are whole or not there."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partner_tools.model import Customer, TenantId
from partner_tools.report.guide import NAME_LIMIT, file_name, harmless
from partner_tools.report.page import Handoff
from partner_tools.report.write import FORMATS, write_handoff
from tests.report import fleet

RESERVED = {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10))}


def named(domain: str | None, tenant: str = "t-1") -> str:
    """The file name for a customer of this domain."""
    customer = Customer(tenant_id=TenantId(tenant), domain=domain)
    return file_name(fleet.handoff([], customer=customer))


def test_every_format_is_written_under_one_name(tmp_path: Path) -> None:
    paths = write_handoff(Handoff(fleet.handoff(fleet.mixed())), tmp_path / "new" / "folder")
    stem = "handoff-contoso.com-20261123-090000-k3f9"
    assert [path.name for path in paths] == [f"{stem}.{one}" for one in FORMATS]
    assert sorted(paths) == sorted((tmp_path / "new" / "folder").iterdir())
    assert all(path.stat().st_size > 1_000 for path in paths)


def test_the_json_is_the_document(tmp_path: Path) -> None:
    document = fleet.handoff(fleet.mixed())
    [path] = write_handoff(Handoff(document), tmp_path, ["json"])
    assert document == json.loads(path.read_text(encoding="utf-8"))


def test_lone_surrogates_do_not_stop_a_report(tmp_path: Path) -> None:
    paths = write_handoff(Handoff(fleet.handoff(fleet.hostile(["a\ud800b"]))), tmp_path)
    assert len(paths) == len(FORMATS)
    [path] = [path for path in paths if path.suffix == ".json"]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["devices"][0]["serialNumber"] == "a\ud800b"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_a_report_is_private_to_the_user(tmp_path: Path) -> None:
    paths = write_handoff(Handoff(fleet.handoff(fleet.unseen())), tmp_path / "out")
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_an_old_report_is_replaced(tmp_path: Path) -> None:
    [first] = write_handoff(Handoff(fleet.handoff(fleet.unseen())), tmp_path, ["md"])
    before = first.read_bytes()
    [second] = write_handoff(Handoff(fleet.handoff(fleet.mixed())), tmp_path, ["md"])
    assert first == second
    assert before != second.read_bytes()


def test_what_cannot_be_written_leaves_nothing_half(tmp_path: Path) -> None:
    document = fleet.handoff(fleet.unseen())
    [kept] = write_handoff(Handoff(document), tmp_path, ["md"])
    before = kept.read_bytes()
    del document["guide"]
    with pytest.raises(KeyError):
        write_handoff(Handoff(document), tmp_path, ["md"])
    assert [kept] == list(tmp_path.iterdir())
    assert before == kept.read_bytes()


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("contoso.com", "handoff-contoso.com-20261123-090000-k3f9"),
        ("Contoso.COM", "handoff-contoso.com-20261123-090000-k3f9"),
        (None, "handoff-t-1-20261123-090000-k3f9"),
    ],
)
def test_file_names(domain: str | None, expected: str) -> None:
    assert expected == named(domain)


def test_a_handoff_for_nobody() -> None:
    assert file_name(fleet.handoff([], customer=None)) == (
        "handoff-unassigned-20261123-090000-k3f9"
    )


@pytest.mark.parametrize(
    "enemy",
    [
        "../../etc/passwd",
        "..\\..\\windows\\system32",
        "/etc/passwd",
        "C:\\autoexec.bat",
        "con",
        "a/b",
        "a\x00b",
        "a\nb",
        "\u202egnp",
        "x" * 500,
        "...",
        "a:stream",
        "a%2f..%2fb",
        "~root",
        "$(calc)",
        "-rf",
        "",
    ],
)
def test_no_customer_leads_a_file_out_of_its_folder(enemy: str, tmp_path: Path) -> None:
    customer = Customer(tenant_id=TenantId("t-1"), domain=enemy)
    [path] = write_handoff(Handoff(fleet.handoff([], customer=customer)), tmp_path, ["md"])
    assert path.parent == tmp_path
    assert [path] == list(tmp_path.iterdir())
    assert path.name.startswith("handoff-")


@given(st.text(), st.text())
def test_two_customers_never_share_a_file(one: str, other: str) -> None:
    if one != other:
        assert harmless(one) != harmless(other)


@given(st.text())
def test_a_harmless_name_is_one_on_every_system(text: str) -> None:
    name = harmless(text)
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    assert ".." not in name
    assert len(name) <= NAME_LIMIT + 9
    assert not name.startswith((".", "-"))
    assert not name.endswith((".", "-"))
    assert f"handoff-{name}".split(".")[0].lower() not in RESERVED


def test_knowing_the_formats_loads_no_heavy_library() -> None:
    probe = (
        "import sys, partner_tools.report.write;"
        "print(sorted({'pandas','numpy','jinja2','xlsxwriter','openpyxl','jsonschema'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_script_has_a_twin_for_mail_gateways(tmp_path: Path) -> None:
    document = fleet.handoff(fleet.mixed())
    script, twin = write_handoff(Handoff(document), tmp_path, ("ps1", "txt"))
    assert twin.name == f"{script.name}.txt"
    assert twin.read_bytes() == script.read_bytes()
