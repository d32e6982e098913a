"""The wheel as a user gets it: built, installed beside nothing of the checkout, and tried."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.supply.closure import dependencies

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"pandas", "numpy", "msal", "requests", "jsonschema", "sqlalchemy"}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    _run(Path(sys.executable), build, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_is_the_same_bytes_whoever_builds_it(wheel: Path, tmp_path: Path) -> None:
    """At another time, from another place: anybody can check a release by building it."""
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    _run(Path(sys.executable), build, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")

    assert again.read_bytes() == wheel.read_bytes()
    with zipfile.ZipFile(again) as archive:
        assert {each.date_time[0] for each in archive.infolist()} == {2020}


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter where the wheel is installed, and its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    interpreter = scripts / ("python.exe" if os.name == "nt" else "python")
    install = ["install", "--no-deps", "--no-index", "--quiet", str(wheel)]
    _run(Path(sys.executable), ["-m", "pip", "--python", str(interpreter), *install], cwd=folder)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(_run(interpreter, ["-c", ask], cwd=folder).strip())
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return interpreter


def test_the_wheel_holds_every_schema_and_sample(wheel: Path) -> None:
    """What lies in the root folders is inside the package, byte for byte."""
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name: archive.read(name) for name in archive.namelist()}
    expected = {
        f"partner_tools/{path.relative_to(ROOT).as_posix()}": path.read_bytes()
        for folder in ("schemas", "samples")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }

    assert len(expected) > 10
    assert expected == {name: shipped[name] for name in expected if name in shipped}


def test_the_wheel_is_typed_and_holds_nothing_else(wheel: Path) -> None:
    """The marker for type checkers is there; tests, documents and caches are not."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert "partner_tools/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"partner_tools", f"partner_tools-{_version()}.dist-info"}
    assert not [name for name in names if "cache" in name or name.endswith(".pyc")]


def test_every_module_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    """No module, template or migration is left behind."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = ROOT / "partner_tools"
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "cache" not in path.as_posix()
    }

    assert wanted - names == set()


def test_the_installed_package_finds_its_schemas_and_samples(python: Path, tmp_path: Path) -> None:
    """Read through the program's own functions, far from the checkout."""
    ask = (
        "import partner_tools\n"
        "from partner_tools.intake.schema import load_schema, schema_names\n"
        "from partner_tools.sandbox import shipped_seed\n"
        "print(partner_tools.__file__)\n"
        "print(len(schema_names()), load_schema('batch')['title'])\n"
        "print(shipped_seed().partner.domain)\n"
    )

    place, schemas, sample = _run(python, ["-c", ask], cwd=tmp_path).splitlines()

    assert Path(place).is_relative_to(python.parents[1])
    assert schemas == f"{len(list((ROOT / 'schemas').glob('*.schema.json')))} Batch"
    assert sample == "fabrikam.onmicrosoft.com"


def test_one_version_everywhere(python: Path, tmp_path: Path) -> None:
    """The project file, the program, the metadata and the changelog name the same version."""
    ask = "import importlib.metadata as m, partner_tools as p; print(m.version('partner-tools'))"
    program = _run(_script(python), ["--version"], cwd=tmp_path)
    metadata = _run(python, ["-c", f"{ask}; print(p.__version__)"], cwd=tmp_path).split()
    newest = re.search(
        r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )

    assert program.split()[-1] == _version()
    assert metadata == [_version(), _version()]
    assert newest is not None
    assert newest[1] == _version()


@pytest.fixture(scope="session")
def one_file(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program and what it needs in one file, as `make zipapp` makes it, without a network."""
    folder = tmp_path_factory.mktemp("zipapp")
    parts = folder / "parts"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(parts)
    for name in dependencies(()):
        for file in importlib.metadata.files(name) or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (parts / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(str(file.locate())), parts / file)
    built = folder / "partner-tools.pyz"
    make = ["-m", "shiv", "--site-packages", str(parts), "-c", "partner-tools", "-o", str(built)]
    _run(Path(sys.executable), [*make, "--uncompressed"], cwd=folder)
    return built


def test_one_file_runs_where_nothing_is_installed(one_file: Path, tmp_path: Path) -> None:
    """For customers who only run `cleanup`: an interpreter without packages, an empty home."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    environment = {"PATH": os.defpath, "HOME": str(tmp_path), "SHIV_ROOT": str(tmp_path / "shiv")}
    (tmp_path / "handoff.json").write_text("{}", encoding="utf-8")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(base), "-I", str(one_file), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    version, refused = run("--version"), run("cleanup", "handoff.json")

    assert version.stdout.split()[-1] == _version()
    assert refused.returncode == 3, refused.stderr
    assert "handoff" in refused.stderr


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["deregister", "--help"], ["report", "--help"]],
    ids=" ".join,
)
def test_help_loads_nothing_heavy(arguments: list[str], python: Path, tmp_path: Path) -> None:
    """Who asks for help does not wait for what help does not need."""
    loaded = _loaded(python, arguments, tmp_path)

    assert "click" in loaded
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_the_list_of_commands_loads_none_of_them(python: Path, tmp_path: Path) -> None:
    """`--help` loads the program's frame; a command loads itself and what it needs."""
    frame = {"app", "console", "help_pages", "options", "streams"}
    loaded = _loaded(python, ["--help"], tmp_path)
    own = {name for name in loaded if name.startswith("partner_tools.")}

    assert own == {
        "partner_tools.cancellation",
        "partner_tools.cli",
        "partner_tools.errors",
    } | {f"partner_tools.cli.{name}" for name in frame}


def test_python_m_is_the_same_program(python: Path, tmp_path: Path) -> None:
    """`python -m partner_tools` takes what `partner-tools` takes."""
    script = _run(_script(python), ["schema"], cwd=tmp_path)

    assert _run(python, ["-m", "partner_tools", "schema"], cwd=tmp_path) == script


def _script(python: Path) -> Path:
    return python.with_name("partner-tools.exe" if os.name == "nt" else "partner-tools")


def _version() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def _run(program: Path, arguments: list[str], *, cwd: Path) -> str:
    done = subprocess.run(
        [str(program), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded(python: Path, arguments: Sequence[str], folder: Path) -> set[str]:
    """The modules that the installed program imports for these arguments."""
    command = [str(python), "-X", "importtime", "-m", "partner_tools", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(re.findall(r"\|\s+([\w.]+)$", done.stderr, re.MULTILINE))
