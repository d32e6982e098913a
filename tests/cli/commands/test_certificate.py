"""The release certificate: made of a real run, checked by the command, by hand and in a browser."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from partner_tools.errors import InputError
from partner_tools.files import write_private
from partner_tools.intake.schema import checker
from partner_tools.json_forms import digest
from partner_tools.model import Account
from partner_tools.report.certificate import unsigned
from partner_tools.sandbox import Sandbox, faults_from, seed_from
from partner_tools.signing import fingerprint, make_key
from partner_tools.workspace.certificates import check_certificate
from tests.browser import Driver, opened_browser
from tests.cli.program import CONTOSO, Program, customer, program_for, world

DOMAIN = "contoso.onmicrosoft.com"
PASSPHRASE = "correct horse battery staple"
OPTIONS = ("--via", "partner-center", "--customer", CONTOSO, "--yes")
MACHINES: list[dict[str, Any]] = [
    {"serialNumber": serial, "join": "entra-joined", "managedDevice": {}} for serial in ("S1", "S2")
]
ASSOCIATED = [{"serialNumber": "S2", "associationState": "associated"}]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    seed = world(
        customer(
            {"b": [{"serialNumber": serial} for serial in ("S1", "S2")]},
            graph={"machines": MACHINES, "tenantAssociatedDevices": ASSOCIATED},
        )
    )
    habits = {"autopilotDelete": 0, "sync": 0, "checkIn": 0}
    with Sandbox(seed_from(seed), faults_from({"graph": habits})) as opened:
        yield opened


@pytest.fixture
def run(sandbox: Sandbox, tmp_path: Path) -> Program:
    key, public = make_key(PASSPHRASE)
    write_private(tmp_path / "key", key)
    (tmp_path / "public").write_text(public)
    return program_for(
        sandbox,
        tmp_path,
        PARTNER_TOOLS_GRAPH_TOKEN=sandbox.tokens[f"graph:{DOMAIN}"],
        PARTNER_TOOLS_SIGNING_PASSPHRASE=PASSPHRASE,
        PARTNER_TOOLS_PARTNER_NAME="Fabrikam Device Services",
    )


@pytest.fixture
def begun(run: Program, sandbox: Sandbox) -> str:
    """A run whose devices the customer has taken out of Intune since, and that looked again."""
    done = run.json("deregister", run.serials("S1", "S2"), *OPTIONS)
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    base = f"{sandbox.urls['graph']}/v1.0/deviceManagement/managedDevices"
    headers = {"Authorization": f"Bearer {token}"}
    for row in requests.get(base, headers=headers, timeout=10).json()["value"]:
        requests.delete(f"{base}/{row['id']}", headers=headers, timeout=10)
    requests.post(f"{sandbox.control_url}/graph/{CONTOSO}/check-in", timeout=10)
    run("verify", done["run"], "--graph")
    return str(done["run"])


def made(run: Program, begun: str, *options: str | Path, exit_code: int) -> list[Path]:
    key = ("--key", run.folder / "key", "-o", run.folder / "out")
    done = run("certificate", begun, *key, *options)
    assert done.exit_code == exit_code, done.output
    return [Path(line) for line in done.stdout.splitlines()]


def public(run: Program) -> str:
    return (run.folder / "public").read_text()


def test_a_run_with_an_open_lock_gets_a_status_report_that_lists_it(
    run: Program, begun: str
) -> None:
    (file,) = made(run, begun, exit_code=7)
    assert file.name.startswith("status-report-")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert checker("certificate").violations(document) == ()
    assert document["digest"] == digest(unsigned(document))
    locks = {
        each["serialNumber"]: {one["lock"]: one["status"] for one in each["locks"]}
        for each in document["devices"]
    }
    assert locks["S2"]["device-association"] == "outstanding"
    assert [each["released"] for each in document["devices"]] == [True, False]
    page = file.with_suffix(".html").read_text(encoding="utf-8")
    assert "Status report: not released" in page
    assert "Release certificate" not in page
    told = run.json("certificate", "verify", file, "--signed-by", public(run))
    assert checker("certificate-verify").violations(told) == ()
    assert told["genuine"]
    assert [each["open"] for each in told["devices"]] == [[], ["device-association"]]


def test_a_released_device_gets_a_certificate_of_its_own(run: Program, begun: str) -> None:
    record = run.folder / "erasure.pdf"
    record.write_bytes(b"%PDF-1.7 erased")
    (file,) = made(
        run,
        begun,
        "--serial",
        "S1",
        "--erasure-record",
        record,
        "--erasure-method",
        "one overwrite",
        "--erasure-standard",
        "NIST SP 800-88 r2, Clear",
        "--erasure-provider",
        "Northwind",
        exit_code=0,
    )
    assert file.name.startswith("release-certificate-")
    assert file.name.endswith("-S1.json")
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["kind"] == "release-certificate"
    assert document["erasure"]["file"] == "erasure.pdf"
    (device,) = document["devices"]
    assert device["removal"]["by"] == "Fabrikam Device Services"
    page = file.with_suffix(".html").read_text(encoding="utf-8")
    assert "may be set up by a new owner" in page
    assert document["digest"] in page
    for key in (public(run), fingerprint(public(run)), fingerprint(public(run)).upper()):
        assert run("certificate", "verify", file, "--signed-by", key).exit_code == 0
    assert run("certificate", "verify", file).exit_code == 7
    other = make_key(PASSPHRASE)[1]
    assert run("certificate", "verify", file, "--signed-by", other).exit_code == 7


def test_every_device_can_have_its_own_and_json_says_which_were_written(
    run: Program, begun: str
) -> None:
    told = run.json(
        "certificate", begun, "--key", run.folder / "key", "-o", run.folder / "out", "--each",
        exit_code=7,
    )  # fmt: skip
    assert checker("certificates").violations(told) == ()
    kinds = [each["kind"] for each in told["certificates"]]
    assert kinds == ["release-certificate", "status-report"]


def test_a_buyer_gets_the_key_from_the_partner(run: Program, begun: str) -> None:
    (file,) = made(run, begun, "--serial", "S1", exit_code=0)
    published = run.folder / "site"
    done = run(
        "keys", "publish", "-o", published, "--key", run.folder / "key", "--domain", "fab.example"
    )
    assert done.exit_code == 0, done.output
    document = json.loads((published / "partner-keys.json").read_text(encoding="utf-8"))
    assert checker("keys").violations(document) == ()
    text = (published / "partner-keys.txt").read_text(encoding="utf-8")
    assert "_partner-tools.fab.example. IN TXT" in text
    assert public(run).removeprefix("ed25519:") in text
    told = run.json("certificate", "verify", file, "--keys", published / "partner-keys.json")
    assert told["signedBy"] == ["Fabrikam Device Services"]


@pytest.mark.parametrize(
    ("options", "code", "rule"),
    [
        (("--serial", "S9"), 3, "no-such-device"),
        (("--erasure-method", "overwrite"), 2, None),
    ],
)
def test_what_cannot_be_certified_is_refused(
    run: Program, begun: str, options: tuple[str, ...], code: int, rule: str | None
) -> None:
    key = ("--key", run.folder / "key", "-o", run.folder / "out")
    refused = run("certificate", begun, *key, *options, "--output", "json")
    assert refused.exit_code == code
    assert rule is None or json.loads(refused.stdout)["error"]["rule"] == rule
    assert not list((run.folder / "out").glob("*.json"))


Change = Callable[[dict[str, Any]], None]


def _release(document: dict[str, Any]) -> None:
    document["kind"] = "release-certificate"
    document["devices"][1]["released"] = True


def test_any_changed_character_of_a_signed_field_is_found(run: Program, begun: str) -> None:
    (file,) = made(run, begun, exit_code=7)
    whole = json.loads(file.read_text(encoding="utf-8"))
    places = list(_texts(whole, ()))
    assert _genuine(file)
    chance, changed = random.Random(3), run.folder / "changed.json"  # noqa: S311
    assert len(places) > 80
    for place in places:
        document = json.loads(json.dumps(whole))
        holder = document
        for step in place[:-1]:
            holder = holder[step]
        text = holder[place[-1]]
        at = chance.randrange(len(text)) if text else 0
        holder[place[-1]] = text[:at] + _other(text[at : at + 1]) + text[at + 1 :]
        changed.write_text(json.dumps(document), encoding="utf-8")
        assert not _genuine(changed), place


def _genuine(file: Path) -> bool:
    try:
        return not check_certificate(file, {}).findings
    except InputError:
        return False


def _texts(value: Any, place: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _texts(one, (*place, name))


def _other(character: str) -> str:
    return "B" if character != "B" else "C"


def test_whoever_signs_what_its_own_locks_contradict_is_found_out(run: Program, begun: str) -> None:
    from datetime import UTC, datetime

    from partner_tools.signing import Purpose, open_key, sign, signature_entries

    (file,) = made(run, begun, exit_code=7)
    document = json.loads(file.read_text(encoding="utf-8"))
    _release(document)
    document["digest"] = digest(unsigned(document))
    key = open_key((run.folder / "key").read_bytes(), PASSPHRASE)
    made_ = sign(
        Purpose.CERTIFICATE, document["digest"], key=key, account=Account(), at=datetime.now(UTC)
    )
    document["signatures"] = signature_entries([made_])
    file.write_text(json.dumps(document), encoding="utf-8")
    told = run.json("certificate", "verify", file, "--signed-by", public(run), exit_code=3)
    assert any("called released" in one for one in told["findings"])
    assert not any(each["released"] for each in told["devices"])


@pytest.fixture
def browser() -> Iterator[Driver]:
    """A Chromium of its own for each test: what is taken from it stays taken."""
    with opened_browser() as opened:
        yield opened


WITHOUT_CRYPTO = (
    "Object.defineProperty(Crypto.prototype, 'subtle', {get: () => undefined, configurable: true})"
)
WITHOUT_ED25519 = (
    "SubtleCrypto.prototype.importKey = () => Promise.reject(new DOMException('', "
    "'NotSupportedError'))"
)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("script", [None, WITHOUT_ED25519, WITHOUT_CRYPTO])
def test_a_certificate_is_checked_in_a_browser_without_network(
    run: Program, begun: str, script: str | None, browser: Any
) -> None:
    (file,) = made(run, begun, exit_code=7)
    page = (file.parent / "verify-certificate.html").read_text(encoding="utf-8")
    assert "http://" not in page
    assert "https://" not in page
    if script is not None:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    browser.get((file.parent / "verify-certificate.html").as_uri())
    began = time.monotonic()
    assert _checked(browser, file) == "unknown-signer"
    assert time.monotonic() - began < 5.0
    shown = browser.find_element("id", "result").text
    assert "S2: not released" in shown
    assert "still there" in shown
    for known, state in (
        (public(run), "genuine"),
        (fingerprint(public(run)), "genuine"),
        (make_key(PASSPHRASE)[1], "other-key"),
    ):
        field = browser.find_element("id", "known")
        field.clear()
        field.send_keys(known + "\t")
        assert browser.find_element("id", "result").get_attribute("data-state") == state
    released, backdated = json.loads(file.read_text()), json.loads(file.read_text())
    _release(released)
    backdated["signatures"][0]["signedAt"] = "2020-01-01T00:00:00+00:00"
    for name, content, state in (
        ("released.json", json.dumps(released), "changed"),
        ("backdated.json", json.dumps(backdated), "changed"),
        ("none.json", "no JSON", "unreadable"),
    ):
        changed = file.parent / name
        changed.write_text(content, encoding="utf-8")
        assert _checked(browser, changed) == state
        assert "may be set up" not in browser.find_element("id", "result").text


def _checked(browser: Any, file: Path) -> str:
    """Choose a file on the page; the state that it ends in."""
    result = browser.find_element("id", "result")
    browser.execute_script("delete arguments[0].dataset.state", result)
    browser.find_element("id", "file").send_keys(str(file))
    until = time.monotonic() + 30
    while time.monotonic() < until:
        state = result.get_attribute("data-state")
        if state:
            return str(state)
        time.sleep(0.01)
    raise AssertionError("the page concluded nothing")
