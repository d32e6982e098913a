"""One whole session on the sandbox alone: from the partner's removal to the customer's answer.

The transcript in `docs/how-to/customers-handoff.md` is what this session prints
(`UPDATE_TRANSCRIPT=1` writes it anew). The questions are asked on a terminal of their own.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pytest

from partner_tools.sandbox import Sandbox, faults_from, shipped_seed
from tests.cli.program import program_for
from tests.powershell.scenes import (
    DOMAIN,
    associated,
    enrolled,
    handed_over,
    left,
    opened,
    own,
    registered,
    written,
)
from tests.powershell.shell import HERE, powershell

pytestmark = pytest.mark.slow


PAGE = HERE.parents[1] / "docs" / "how-to" / "customers-handoff.md"
SLOW = {"autopilotDelete": 9000, "sync": 9000, "checkIn": 0}
SETTINGS = {"POWERSHELL_TELEMETRY_OPTOUT": "1", "NO_COLOR": "1", "POWERSHELL_UPDATECHECK": "Off"}


def environment(sandbox: Sandbox) -> dict[str, str]:
    """With the stand-in module, pointed at the sandbox."""
    token = sandbox.tokens[f"graph:{DOMAIN}"]
    tokens = {"read": sandbox.tokens[f"graphRead:{DOMAIN}"], "write": token, "keys": token}
    return {
        **os.environ,
        **SETTINGS,
        "PSModulePath": str(HERE / "modules"),
        "STANDIN_GRAPH": sandbox.urls["graph"],
        "STANDIN_TOKENS": json.dumps(tokens),
    }


def shown(text: str, places: Mapping[str, str]) -> str:
    """A transcript without what differs from one session to the next."""
    for value, name in places.items():
        text = text.replace(value, name)
    text = re.sub(r"\d{8}-\d{6}(-\d)?\.json", "TIME.json", text)
    text = re.sub(r"\d{8}-\d{6}-[0-9a-f]{6}", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d( UTC|[+-]\d\d:\d\d)", "TIME", text)
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)


class Customer:
    """An administrator with the file and nothing else."""

    def __init__(self, script: Path, sandbox: Sandbox, record: list[str]) -> None:
        self.script = script
        self.sandbox = sandbox
        self.record = record

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the script."""
        self.record.append(f"PS> .\\{self.script.name} {' '.join(arguments)}".rstrip())
        call = f"& '{self.script}' {' '.join(arguments)}; exit $LASTEXITCODE"
        return subprocess.Popen(
            [powershell(), "-NoProfile", "-NonInteractive", "-Command", call],
            cwd=self.script.parent,
            env=environment(self.sandbox),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> int:
        """Start the script and wait for its end."""
        process = self.start(*arguments)
        self.record += self._lines(process.communicate(timeout=240)[0])
        return process.returncode

    def interrupt(self, *arguments: str) -> None:
        """Press Ctrl+C while it waits."""
        process = self.start(*arguments)
        assert process.stdout is not None
        for line in process.stdout:
            self.record += self._lines(line)
            if line.startswith("Waiting for"):
                os.killpg(process.pid, signal.SIGINT)
                break
        process.communicate(timeout=240)
        self.record.append("^C")

    @staticmethod
    def _lines(text: str) -> list[str]:
        return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[tuple[str, Sandbox]]:
    """The transcript of the whole session, and the tenant at its end."""
    record: list[str] = []
    powershell()
    with Sandbox(shipped_seed(), faults_from({"rules": [], "graph": SLOW})) as sandbox:
        partner = tmp_path / "partner"
        partner.mkdir()
        run = program_for(sandbox, partner)
        sample = shutil.copy(
            str(files("partner_tools").joinpath("../samples/retired.csv")), partner
        )
        options = ("--via", "partner-center", "--customer", DOMAIN, "--yes", "--settle", "0")
        done = json.loads(run("deregister", sample, *options, "--output", "json").stdout)
        run("report", done["run"], "-o", partner / "handoff")
        (made,) = (partner / "handoff").glob("*.ps1")
        folder = tmp_path / "customer"
        folder.mkdir()
        script = folder / made.name
        script.write_text(_patient(made.read_bytes().decode("ascii")), encoding="ascii")

        customer = Customer(script, sandbox, record)
        customer.run()
        customer.interrupt("-Apply", "-KeysSaved", "-Confirm:$false")
        sandbox.behave(faults_from({"rules": [], "graph": {**SLOW, "syncInterval": 0, "sync": 0}}))
        customer.run("-Apply", "-KeysSaved", "-Confirm:$false", "-WaitMinutes", "0")

        results = sorted(
            folder.glob("handoff-result-*.json"), key=lambda one: one.stat().st_mtime_ns
        )
        states = [json.loads(one.read_text(encoding="utf-8"))["finished"] for one in results]
        assert states == [True, False, True], "the interrupted one is complete and says so"
        taken = run("verify", "--evidence", results[-1])
        record.append(f"$ partner-tools verify --evidence {results[-1].name}")
        record += [line.rstrip() for line in taken.output.splitlines() if line.strip()]
        assert taken.exit_code in (0, 7), taken.output
        places = {str(folder): ".", str(partner): ".", done["run"]: "RUN"}
        yield shown("\n".join(record), places), sandbox


def _patient(text: str) -> str:
    """A script that looks every second: a test does not wait for minutes."""
    return text.replace("$PollSeconds = 60", "$PollSeconds = 1")


def test_the_documented_session_is_what_happens(session: tuple[str, Sandbox]) -> None:
    transcript, _sandbox = session
    page = PAGE.read_text(encoding="utf-8")
    begin, end = "```console session\n", "\n```\n"
    head, _, rest = page.partition(begin)
    assert rest, f"{PAGE} has the transcript in a block of its own"
    documented, _, tail = rest.partition(end)
    if os.environ.get("UPDATE_TRANSCRIPT") == "1":
        PAGE.write_text(head + begin + transcript + end + tail, encoding="utf-8")
        documented = transcript
    assert documented == transcript


def test_the_loop_closes_without_the_partners_access_to_the_tenant(tmp_path: Path) -> None:
    """Removal, handoff, preview, keys, apply, results file, import: then nothing is outstanding."""
    powershell()
    machines = [
        own("MINE1", user="adele@contoso.com"),
        {**enrolled("THEIRS1"), "windowsAutopilotDeviceIdentity": {}},
        registered("SHELF1"),
    ]
    bound = [
        {"serialNumber": serial, "associationState": "preassociated"}
        for serial in ("MINE1", "SHELF1", "OTHER1")
    ]
    with opened(
        machines, devices=[{"serialNumber": "THEIRS1"}], tenantAssociatedDevices=bound
    ) as sandbox:
        partner, folder = tmp_path / "partner", tmp_path / "customer"
        partner.mkdir()
        folder.mkdir()
        run = program_for(sandbox, partner)
        listed = run.serials("MINE1", "THEIRS1", "SHELF1")
        options = ("--via", "partner-center", "--customer", DOMAIN, "--yes", "--settle", "0")
        done = run.json("deregister", listed, *options, exit_code=7)
        run("report", done["run"], "-o", partner / "handoff", "--format", "ps1")
        (made,) = (partner / "handoff").glob("*.ps1")
        script = Path(shutil.copy(made, folder))
        script.write_text(_patient(script.read_bytes().decode("ascii")), encoding="ascii")
        assert run.json("verify", "--outstanding")["customers"] != []

        record: list[str] = []
        customer = Customer(script, sandbox, record)
        assert customer.run() == 0, record
        assert customer.run("-SaveKeys") == 0, record
        (receipt,) = folder.glob("handoff-keys-receipt-*.json")
        apply = ("-Apply", "-KeysReceipt", f"'{receipt}'", "-Confirm:$false")
        assert customer.run(*apply) == 0, record

        assert left(sandbox) == ([], [])
        assert associated(sandbox) == [("OTHER1", "preassociated")]
        results = sorted(
            folder.glob("handoff-result-*.json"), key=lambda one: one.stat().st_mtime_ns
        )
        taken = run("verify", "--evidence", results[-1])
        assert taken.exit_code == 0, taken.output
        outstanding = run.json("verify", "--outstanding")
        assert outstanding["customers"] == []


class Terminal:
    """PowerShell on a terminal of its own, which can be asked and answers."""

    def __init__(self, script: Path, sandbox: Sandbox, *arguments: str) -> None:
        self.seen = ""
        self.child, self.master = pty.fork()
        if self.child == 0:  # pragma: no cover - replaced by PowerShell
            os.chdir(script.parent)
            call = [powershell(), "-NoProfile", "-File", str(script), *arguments]
            os.execve(call[0], call, {**environment(sandbox), "TERM": "xterm"})  # noqa: S606

    def wait_for(self, words: str, seconds: float = 120) -> str:
        """What was shown until the words were."""
        until = time.monotonic() + seconds
        while words not in self.plain() and time.monotonic() < until:
            if select.select([self.master], [], [], 1)[0] and not self._read():
                break
        assert words in self.plain(), self.plain()
        return self.plain()

    def _read(self) -> bool:
        """Take what is shown, and say where the cursor is when asked; False at the end."""
        try:
            shown = os.read(self.master, 65536)
            os.write(self.master, b"\x1b[1;1R" * shown.count(b"\x1b[6n"))
        except OSError:  # how a terminal says that its other side has ended
            return False
        self.seen += shown.decode("utf-8", "replace")
        return bool(shown)

    def plain(self) -> str:
        """What was shown, without the terminal's own sequences, in one line."""
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]", "", self.seen)
        return re.sub(r"\s+", " ", text)

    def answer(self, key: str) -> None:
        """Type a line."""
        self.seen = ""
        os.write(self.master, f"{key}\r".encode())

    def end(self) -> int:
        """Wait for the end; the exit code."""
        while self._read():
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def test_a_question_names_device_user_serial_number_and_when_it_was_seen(tmp_path: Path) -> None:
    powershell()
    machine = own("SN1", user="adele@contoso.com", managedDevice={"deviceName": "LT-0042"})
    with opened([machine, own("SN2")]) as sandbox:
        script = tmp_path / "handoff.ps1"
        script.write_text(written(handed_over(sandbox, "SN1", "SN2")), encoding="ascii")
        terminal = Terminal(script, sandbox, "-Apply", "-KeysSaved", "-WaitMinutes", "0")
        terminal.wait_for("Continue without a receipt?")
        terminal.answer("y")
        terminal.wait_for("Delete from Intune? LT-0042, user adele@contoso.com, serial number SN1")
        terminal.wait_for("last seen 2026-10-30")
        terminal.answer("l")  # no to all
        assert terminal.end() == 7
        assert left(sandbox) == (["SN1", "SN2"], ["SN1", "SN2"])
        (file,) = tmp_path.glob("handoff-result-*.json")
        steps = [one["steps"] for one in json.loads(file.read_text(encoding="utf-8"))["devices"]]
        assert [[step["status"] for step in each] for each in steps] == [["declined"]] * 2
