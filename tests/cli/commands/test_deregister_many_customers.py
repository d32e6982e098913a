"""One file, many customers: what befalls one of them stops none of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from partner_tools.sandbox import Sandbox, faults_from, seed_from
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, outcomes, program_for, world

BARRED = "5f0b5c1e-9a55-4d1f-8a43-6d0a2f3b7c11"
LOOPING = "0d9f1d4e-77a3-4f0a-9c47-5b1d2c3e4f50"


def estate(prefix: str, devices: int) -> dict[str, list[dict[str, Any]]]:
    return {"B": [{"serialNumber": f"{prefix}-{number}"} for number in range(devices)]}


def everybody() -> dict[str, Any]:
    return world(
        customer(estate("C", 10)),
        customer(estate("F", 2), tenant=FABRIKAM, domain="fabrikam.example"),
        customer(estate("B", 1), tenant=BARRED, domain="barred.example", relationship="none"),
        customer(estate("L", 3), tenant=LOOPING, domain="looping.example"),
    )


LOOP = {
    "schemaVersion": "1",
    "quirks": {"devicesPageSize": 2},
    "rules": [
        {
            "match": {"operation": "list-devices", "customer": LOOPING, "continued": True},
            "fault": {"kind": "repeat-page"},
        }
    ],
}


def of_all(program: Program) -> Path:
    rows = [
        "Serial number,Customer",
        "C-0,contoso.onmicrosoft.com",
        "F-0,fabrikam.example",
        "F-1,fabrikam.example",
        f"B-0,{BARRED}",
        "L-0,looping.example",
    ]
    return program.batch("\n".join([*rows, ""]))


def test_a_failure_of_one_customer_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "partner-tools.toml").write_text("[default.guards]\nmax_estate_share = 0.5\n")
    with Sandbox(seed_from(everybody()), faults_from(LOOP)) as sandbox:
        program = program_for(sandbox, tmp_path)

        document = program.json(
            *("deregister", of_all(program), "--via", "partner-center", "--yes"),
            *("--settle", "0", "--report", tmp_path / "handoff"),
            exit_code=7,
        )
        left = {each.device.serial_number for each in sandbox.state.devices(CONTOSO)}

    assert outcomes(document) == {
        "C-0": "removed",
        "F-0": "refused",
        "F-1": "refused",
        "B-0": "refused",
        "L-0": "refused",
    }
    why = {each["serialNumber"]: each for each in document["devices"]}
    assert "more than the share of 50%" in why["F-0"]["detail"]
    assert "no reseller relationship" in why["B-0"]["detail"]
    assert "could not be listed completely" in why["L-0"]["detail"]
    assert [why[serial]["customer"] for serial in ("C-0", "F-0", "B-0", "L-0")] == [
        CONTOSO,
        FABRIKAM,
        BARRED,
        LOOPING,
    ]
    assert "C-0" not in left
    reports = {path.name.split("-2")[0] for path in (tmp_path / "handoff").glob("*.html")}
    assert {"handoff-contoso.onmicrosoft.com", "handoff-fabrikam.example"} <= reports


def test_a_customer_that_cannot_be_verified_hides_no_other(tmp_path: Path) -> None:
    """The second one is looked at, and what was not looked at is said and not called gone."""
    seed = world(
        customer(estate("L", 5), tenant=LOOPING, domain="looping.example"), customer(estate("C", 5))
    )
    rows = "Serial number,Customer\nL-0,looping.example\nC-0,contoso.onmicrosoft.com\n"
    with Sandbox(seed_from(seed), faults_from({"quirks": {"devicesPageSize": 2}})) as sandbox:
        program = program_for(sandbox, tmp_path)
        done = program.json(
            "deregister", program.batch(rows), "--via", "partner-center", "--yes", "--settle", "0"
        )
        before = len(list(program("trace", "C-0").output.splitlines()))
        unseen = len(list(program("trace", "L-0").output.splitlines()))
        sandbox.behave(faults_from(LOOP))

        result = program("verify", done["run"])

        assert result.exit_code == 5
        assert LOOPING in result.stderr
        assert CONTOSO not in result.stderr
        assert len(list(program("trace", "C-0").output.splitlines())) == before + 1
        assert len(list(program("trace", "L-0").output.splitlines())) == unseen + 1
        assert "status=not-verified" in program("trace", "L-0").output.splitlines()[4]


def test_a_list_that_leads_in_a_circle_ends_the_run_of_its_only_customer(tmp_path: Path) -> None:
    with Sandbox(seed_from(everybody()), faults_from(LOOP)) as sandbox:
        program = program_for(sandbox, tmp_path)

        document = program.json(
            *("plan", program.serials("L-0"), "--via", "partner-center"),
            *("--customer", LOOPING, "-o", tmp_path / "plan.json"),
            exit_code=5,
        )

    assert document["counts"] == {"pending": 1}
