"""What is shipped and what it stands on: licences, pinned hashes, and modules that only define."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.audit import audit
from tests.supply.bom import bill_of_materials
from tests.supply.closure import ALLOWED, dependencies, licence_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

UNPINNED = {"pip", "setuptools"}
"""What an environment has before anything is installed; an installation leaves it as it is."""

IMPORT_ALL = """
import importlib, pkgutil, sys
import partner_tools

FORBIDDEN = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.spawn", "os.mkdir",
             "os.remove", "os.rename", "os.rmdir", "os.chmod", "os.putenv", "tempfile.", "shutil.",
             "urllib.Request", "http.client", "webbrowser.", "sqlite3.connect", "signal.")
ALLOWED = {"socket.__new__", "socket.gethostname"}
OF_LIBRARIES = {
    ("socket.bind", "clients/transport.py"),  # urllib3 asks loopback whether there is IPv6
    ("open", "fleet/queue.py"),  # procrastinate's asgiref asks what it runs on: `file` of
    ("subprocess.Popen", "fleet/queue.py"),  # the interpreter, its errors to /dev/null
}

def watch(event, arguments):
    writes = event == "open" and (
        (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"))
        or (arguments[1] is None and arguments[2] & 3)
    )
    if writes or (event.startswith(FORBIDDEN) and event not in ALLOWED):
        import traceback
        frames = [f for f in traceback.extract_stack() if "/partner_tools/" in f.filename]
        ours = frames[-1].filename.split("/partner_tools/")[-1] if frames else None
        if ours and (event, ours) not in OF_LIBRARIES:
            print(f"{event} {arguments!r} by {ours}:{frames[-1].lineno}")

sys.addaudithook(watch)
names = [each.name for each in pkgutil.walk_packages(partner_tools.__path__, "partner_tools.")]
for name in names:
    if not name.endswith(("__main__", "migrations.env")):
        importlib.import_module(name)
print(len(names), "modules")
"""


def test_importing_a_module_does_nothing() -> None:
    """No file written, no process, no connection, no environment changed: by any of our modules."""
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", IMPORT_ALL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    *said, counted = done.stdout.splitlines()
    assert said == []
    assert int(counted.split()[0]) > 150


@pytest.mark.parametrize("name", sorted(dependencies()))
def test_every_dependency_has_a_licence_that_we_may_ship(name: str) -> None:
    """Of all that `partner-tools[all]` brings; a new licence is a decision, not a default."""
    assert licence_of(name) & ALLOWED, (name, licence_of(name))


def test_every_dependency_is_pinned_once() -> None:
    """`constraints.txt` names everything that an installation brings, each in one version."""
    pins = re.findall(r"^([\w.-]+)==(\S+)$", _constraints(), re.MULTILINE)
    pinned: dict[str, str] = {canonicalize_name(name): version for name, version in pins}

    assert len(pinned) == len(pins) == len(_constraints().splitlines())
    for name in dependencies():
        assert pinned.get(name) == metadata.version(name), name


def test_the_hashes_are_those_of_the_pins() -> None:
    """`hashes.txt` holds the same versions, each with the hashes of its files, and no address."""
    text = (ROOT / "hashes.txt").read_text(encoding="utf-8")
    pinned = {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([\w.-]+)==(\S+)$", _constraints(), re.MULTILINE)
    }
    entries = re.findall(
        r"^([\w.-]+)==(\S+?)(?: ; [^\n\\]+)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$",
        text,
        re.MULTILINE,
    )

    names = {name for name, _, _ in entries}
    assert "://" not in text
    assert dependencies() <= names
    for name, version, _ in entries:
        assert name in UNPINNED or pinned.get(canonicalize_name(name)) == version, name


def test_every_declared_dependency_is_in_the_closure() -> None:
    """What the project file names is what is looked at."""
    named = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}

    assert named <= dependencies()


def _constraints() -> str:
    return (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("said", "environment", "code", "told"),
    [
        ("No known vulnerabilities found", {}, 0, "No known"),
        ("Found 1 known vulnerability in 1 package", {}, 1, "Found 1"),
        ("ConnectionError: no route", {}, 0, "NOT AUDITED"),
        ("ConnectionError: no route", {"AUDIT_REQUIRED": "1"}, 1, "NOT AUDITED"),
        ("", {}, 0, "NOT AUDITED"),
    ],
)
def test_an_audit_that_could_not_ask_says_so(
    said: str, environment: dict[str, str], code: int, told: str
) -> None:
    """It is never taken for one that found nothing."""
    heard: list[str] = []

    assert audit(lambda _arguments: said, environment, heard.append) == code
    assert told in heard[0]


def test_the_bill_of_materials_names_everything_once() -> None:
    """CycloneDX with a package address for each dependency; the same bytes each time."""
    content = bill_of_materials()
    document = json.loads(content)

    assert document["bomFormat"] == "CycloneDX"
    assert sorted(each["name"] for each in document["components"]) == sorted(dependencies())
    assert all(each["purl"].startswith("pkg:pypi/") for each in document["components"])
    assert bill_of_materials() == content
