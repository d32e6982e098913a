"""Services that say more than is true: nothing is removed for it, and nothing called clear."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from partner_tools.events import Event, Kind
from partner_tools.intake.schema import checker
from partner_tools.ledger import Ledger, sqlite_url
from partner_tools.model import RunId
from partner_tools.sandbox import Sandbox, seed_from
from partner_tools.workspace.workspace import open_workspace
from tests.cli.program import CONTOSO, FABRIKAM, Program, customer, outcomes, program_for, world
from tests.clients.wire_service import Asked
from tests.liar import Lie, OemReply, lying

VIA = ("--via", "partner-center", "--customer", CONTOSO)
MODELS = ({"modelName": "Latitude 5440"}, {"modelName": "Latitude 7440"})


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    devices: list[dict[str, Any]] = [{"serialNumber": f"SN-{number}"} for number in range(120)]
    twins = [{"serialNumber": "TWIN", **model} for model in MODELS]
    keyed = [{"serialNumber": "KEYED", "productKey": "3305670000001"}]
    contoso = customer({"B": devices, "T": twins, "K": keyed})
    other = customer({"F": [{"serialNumber": "SN-1"}]}, tenant=FABRIKAM, domain="fabrikam.example")
    with Sandbox(seed_from(world(contoso, other))) as running:
        yield running


@contextmanager
def told(sandbox: Sandbox, folder: Path, lie: Lie) -> Iterator[Program]:
    """The program, told everything of Partner Center by a liar."""
    with lying(sandbox.announce()["environment"]["PARTNER_TOOLS_PARTNER_CENTER_URL"], lie) as url:
        yield program_for(sandbox, folder, PARTNER_TOOLS_PARTNER_CENTER_URL=url)


def deletes(sandbox: Sandbox) -> int:
    return sum(entry.method == "DELETE" for entry in sandbox.log.entries)


def is_list(asked: Asked, batch: str = "B") -> bool:
    return asked.method == "GET" and asked.target.endswith(f"/deviceBatches/{batch}/devices")


def is_batches(asked: Asked) -> bool:
    return asked.method == "GET" and asked.target.endswith("/deviceBatches")


def status(program: Program, run: str) -> set[str]:
    """The statuses of Autopilot in the handoff of a run."""
    folder = program.folder / "handoff"
    assert program("report", run, "-o", folder, "--format", "json", *PARTNER).exit_code == 0
    (file,) = folder.glob(f"*{run}*.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    return {each["planes"]["autopilot"]["status"] for each in document["devices"]}


PARTNER: tuple[str, ...] = ()


def remove(program: Program, *serials: str, exit_code: int = 0, settle: str = "0") -> Any:
    return program.json(
        "deregister", program.serials(*serials), *VIA, "--yes", "--settle", settle,
        exit_code=exit_code,
    )  # fmt: skip


def cut(asked: Asked, said: OemReply) -> None:
    """The second page never comes, and no token says that there is one."""
    if is_list(asked):
        said.content |= {"totalCount": 121}
        said.content.pop("continuationToken", None)
        said.content["links"] = {}


def without_a_twin(asked: Asked, said: OemReply) -> None:
    if is_list(asked, "T"):
        said.content["items"] = said.content["items"][:1]


def of_another_customer(asked: Asked, said: OemReply) -> None:
    """Each list is that of a customer of the same partner."""
    if is_batches(asked):
        for each in said.content["items"]:
            for link in (each["devicesLink"], each["links"]["self"]):
                link["uri"] = link["uri"].replace(CONTOSO, FABRIKAM)


def another_customer(asked: Asked, said: OemReply) -> None:
    if asked.target.endswith(f"/customers/{CONTOSO}"):
        said.content["id"] = FABRIKAM


@pytest.mark.parametrize("lie", [cut, without_a_twin, of_another_customer, another_customer])
def test_an_answer_that_contradicts_itself_or_its_question_removes_nothing(
    sandbox: Sandbox, tmp_path: Path, lie: Lie
) -> None:
    with told(sandbox, tmp_path, lie) as program:
        document = remove(program, "SN-1", "SN-110", "TWIN", exit_code=5)
    assert document.get("error", {}).get("exit", 5) == 5
    assert deletes(sandbox) == 0


def test_an_empty_list_that_counts_devices_proves_no_removal(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    def lie(asked: Asked, said: OemReply) -> None:
        if deletes(sandbox) and asked.method == "GET" and "/devices" in asked.target:
            said.content = {"totalCount": 3, "items": []}

    with told(sandbox, tmp_path, lie) as program:
        done = remove(program, "SN-1", "SN-2", exit_code=5)
        assert status(program, done["run"]) == {"not-verified"}


def test_a_number_of_devices_that_is_out_of_date_is_said(sandbox: Sandbox, tmp_path: Path) -> None:
    def lie(asked: Asked, said: OemReply) -> None:
        if is_batches(asked):
            for each in said.content["items"]:
                each["devicesCount"] += each["id"] == "K"

    with told(sandbox, tmp_path, lie) as program:
        planned = program("deregister", program.serials("SN-1"), *VIA, "--dry-run")
    assert planned.exit_code == 0
    assert "batch 'K' states 2 devices and lists 1" in planned.output
    assert "batch 'B'" not in planned.output


@pytest.mark.parametrize("code", [60003, 900118])
def test_a_404_that_speaks_of_the_customer_is_no_absence(
    sandbox: Sandbox, tmp_path: Path, code: int
) -> None:
    def lie(asked: Asked, said: OemReply) -> None:
        if asked.method == "DELETE":
            said.status = 404
            said.content = {"code": code, "description": "Tenant not found"}

    with told(sandbox, tmp_path, lie) as program:
        document = remove(program, "SN-1", exit_code=7)
    assert outcomes(document) == {"SN-1": "refused"}


def again(sandbox: Sandbox, **device: Any) -> Callable[[Asked, OemReply], None]:
    """A list that shows, from the first removal on, a device that was registered again."""
    shown = {"id": "a-new-id", **device}

    def lie(asked: Asked, said: OemReply) -> None:
        if deletes(sandbox) and is_list(asked, "K"):
            said.content["items"].append(shown)
            said.content["totalCount"] += 1

    return lie


@pytest.mark.parametrize(
    "device",
    [
        {"serialNumber": "sn-1"},
        {"serialNumber": " SN-1\u200b", "modelName": "another", "oemManufacturerName": "another"},
    ],
)
def test_a_device_that_was_registered_again_is_found_however_it_is_spelled(
    sandbox: Sandbox, tmp_path: Path, device: dict[str, Any]
) -> None:
    with told(sandbox, tmp_path, again(sandbox, **device)) as program:
        batch = program.batch("Serial number,Model\nSN-1,\n")
        arguments = ("deregister", batch, *VIA, "--yes", "--settle", "0")
        document = program.json(*arguments, exit_code=7)
        assert outcomes(document) == {"SN-1": "removed"}
        assert status(program, document["run"]) == {"outstanding"}


def test_a_row_with_a_product_key_alone_is_found_by_its_serial_number(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with told(sandbox, tmp_path, again(sandbox, serialNumber="keyed")) as program:
        batch = program.batch("Windows Product ID\n3305670000001\n")
        arguments = ("deregister", batch, *VIA, "--yes", "--settle", "0")
        assert "still listed" in program(*arguments).stdout


def test_replicas_that_alternate_prove_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """Every second list is that of before."""
    before: list[dict[str, Any]] = []
    looks = 0

    def lie(asked: Asked, said: OemReply) -> None:
        nonlocal looks
        if not is_list(asked, "T"):
            return
        before.extend([] if before else said.content["items"])
        looks += bool(deletes(sandbox))
        if looks % 2 == 0:
            said.content |= {"items": before, "totalCount": len(before)}

    with told(sandbox, tmp_path, lie) as program:
        batch = program.batch(f"Serial number,Model\nTWIN,{MODELS[0]['modelName']}\n")
        done = program.json("deregister", batch, *VIA, "--yes", "--settle", "0", exit_code=7)
        assert looks == 2
        assert status(program, done["run"]) == {"outstanding"}


def test_another_device_with_the_same_serial_number_is_not_taken_for_the_removed_one(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The plan told them apart by their models: so does the look afterwards."""
    program = program_for(sandbox, tmp_path)
    batch = program.batch(f"Serial number,Model\nTWIN,{MODELS[0]['modelName']}\n")
    done = program.json("deregister", batch, *VIA, "--yes", "--settle", "0")
    assert status(program, done["run"]) == {"clear"}


def observe(program: Program, run: str, status: str, seconds: float) -> None:
    """Record a look, by a clock that differs by so many seconds from that of the removal."""
    with Ledger.open(sqlite_url(Path(program.environment["PARTNER_TOOLS_LEDGER"]))) as ledger:
        (device,) = ledger.devices(RunId(run))
        assert device.history.settled_at is not None
        at = device.history.settled_at + timedelta(seconds=seconds)
        payload = {"plane": "autopilot", "source": "partner-center", "status": status}
        ledger.record([Event(run=RunId(run), kind=Kind.OBSERVED, at=at, device=0, payload=payload)])


def test_evidence_counts_in_the_order_of_the_ledger_whatever_the_clocks_say(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    program = program_for(sandbox, tmp_path)
    done = remove(program, "SN-1")
    observe(program, done["run"], "outstanding", -20)
    assert status(program, done["run"]) == {"outstanding"}
    assert "still listed" in program("runs", done["run"]).stdout
    observe(program, done["run"], "clear", -40)
    assert status(program, done["run"]) == {"clear"}


def test_a_ledger_of_the_version_before_is_whole(sandbox: Sandbox, tmp_path: Path) -> None:
    """It does not say how much was seen before the removal: there the times decide."""
    program = program_for(sandbox, tmp_path)
    done = remove(program, "SN-1")
    with closing(sqlite3.connect(program.environment["PARTNER_TOOLS_LEDGER"])) as connection:
        connection.execute("UPDATE devices SET history = json_remove(history, '$.looked_before')")
        connection.commit()
    assert program("ledger", "verify").exit_code == 0
    observe(program, done["run"], "outstanding", -20)
    assert status(program, done["run"]) == {"clear"}


def test_an_estate_that_vanishes_is_no_proof(sandbox: Sandbox, tmp_path: Path) -> None:
    def lie(asked: Asked, said: OemReply) -> None:
        if deletes(sandbox) and is_batches(asked):
            said.content |= {"items": [], "totalCount": 0}

    with told(sandbox, tmp_path, lie) as program:
        done = program("deregister", program.serials("SN-1"), *VIA, "--yes", "--output", "json")
        assert done.exit_code == 5
        assert "no proof" in done.stderr
        run = json.loads(done.stdout)["run"]
        assert program("verify", run).exit_code == 5
        assert status(program, run) == {"not-verified"}


def test_a_customer_whose_every_device_was_removed_is_clear(tmp_path: Path) -> None:
    devices = [{"serialNumber": f"SN-{number}"} for number in range(12)]
    with Sandbox(seed_from(world(customer({"B": devices})))) as sandbox:
        program = program_for(sandbox, tmp_path)
        first = remove(program, *(f"SN-{number}" for number in range(4)))
        second = remove(program, *(f"SN-{number}" for number in range(4, 12)))
        for done in (first, second):
            assert program("verify", done["run"]).exit_code == 0
            assert status(program, done["run"]) == {"clear"}


def poison(program: Program, statement: str, run: str) -> None:
    with closing(sqlite3.connect(program.environment["PARTNER_TOOLS_LEDGER"])) as connection:
        connection.execute(statement, [run])
        connection.commit()


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    ["", "nonsense", "[]", '{"no_such_field": 1}', '{"evidence": [{"plane": "moon"}]}'],
)
def test_a_poisoned_device_stops_no_other_run(
    sandbox: Sandbox, tmp_path: Path, history: str
) -> None:
    program = program_for(sandbox, tmp_path)
    poisoned, sound = remove(program, "SN-1")["run"], remove(program, "SN-2")["run"]
    poison(program, f"UPDATE devices SET history = '{history}' WHERE run = ?", poisoned)  # noqa: S608

    own = program("report", poisoned, "-o", tmp_path / "report", *PARTNER)
    assert (own.exit_code, f"run {poisoned} is damaged" in own.stderr) == (6, True)
    over_all = program("verify", "--outstanding", "--output", "json")
    assert over_all.exit_code == 6
    document = json.loads(over_all.stdout)
    assert [each["run"] for each in document["failures"]] == [poisoned]
    assert [each["runs"] for each in document["customers"]] == [[sound]]
    assert program("report", "--summary", "-o", tmp_path / "summary").exit_code == 0
    assert program("verify", sound).exit_code == 0
    assert remove(program, "SN-3")["counts"] == {"removed": 1}
    assert len(program.json("runs")["runs"]) == 3
    assert program("ledger", "verify").exit_code == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", ["counts = 'x'", "settings = '['", "state = 'y'", "created_at = ''", "channel = 'z'"]
)
def test_a_poisoned_run_is_listed_as_damaged(sandbox: Sandbox, tmp_path: Path, value: str) -> None:
    program = program_for(sandbox, tmp_path)
    poisoned, sound = remove(program, "SN-1")["run"], remove(program, "SN-2")["run"]
    poison(program, f"UPDATE runs SET {value} WHERE run = ?", poisoned)  # noqa: S608 - our own text

    listed = program.json("runs")
    assert not checker("runs").violations(listed)
    states = {each["run"]: each["state"] for each in listed["runs"]}
    assert states == {poisoned: "damaged", sound: "finished"}
    assert program("runs", poisoned).exit_code == 6
    assert program("verify", "--outstanding").exit_code == 6
    assert program("runs", sound).exit_code == 0


def test_a_device_that_changed_while_the_question_waited_is_refused(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """However young the plan: the person was shown another device than is there now."""
    changed = False

    def lie(asked: Asked, said: OemReply) -> None:
        if changed and is_list(asked, "B"):
            for each in said.content["items"]:
                if each["serialNumber"] == "SN-1":
                    each["serialNumber"] = "SN-OTHER"

    def confirm(_plan: object) -> bool:
        nonlocal changed
        changed = True
        return True

    with told(sandbox, tmp_path, lie) as program:
        with open_workspace(environment=program.environment) as workspace:
            done = workspace.deregister(
                program.serials("SN-1", "SN-2"),
                via="partner-center",
                customer=CONTOSO,
                confirm=confirm,
            )
        found = {
            each.device.identity.serial_number: each.history.outcome.value for each in done.devices
        }
    assert found == {"SN-1": "refused", "SN-2": "removed"}
    assert deletes(sandbox) == 1
