"""One cell of the table: a request meets a fault, and afterwards all is well again."""

from __future__ import annotations

import http.client
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from partner_tools.sandbox.faults import ABOUT_CONNECTIONS
from tests.faults.faults import FAULTS, HALF_AN_HOUR, Fault
from tests.faults.scenes import SCENES, UNLISTED, Scene, Stage, staged


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a command ended: its exit code, and what became of the devices."""

    exit_code: int
    become: str

    def __str__(self) -> str:
        return f"{self.exit_code} {self.become}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How the command that met the fault ended, and the one after it, without a fault."""

    first: End
    second: End

    def __str__(self) -> str:
        return f"{self.first}" if self.first == self.second else f"{self.first} > {self.second}"


def applies(scene: Scene, fault: Fault) -> bool:
    """Whether this request can meet this fault at all."""
    if fault.paged and not scene.paged:
        return False
    inner = scene.title == "Graph: within $batch"
    return not (inner and (fault.ahead or fault.says["kind"] in ABOUT_CONNECTIONS))


def cells() -> tuple[tuple[str, str], ...]:
    """Every fault with every request that can meet it, by their names."""
    return tuple(
        (fault, scene)
        for fault in FAULTS
        for scene in SCENES
        if applies(SCENES[scene], FAULTS[fault])
    )


def try_cell(fault_name: str, scene_name: str) -> Ends:
    """Carry it out in a fresh world. Raises AssertionError where something said is not true."""
    fault, scene = FAULTS[fault_name], SCENES[scene_name]
    with (
        tempfile.TemporaryDirectory() as folder,
        staged(scene, fault, Path(folder)) as stage,
    ):
        scene.prepare(stage)
        stage.behave(_rule(scene, fault))
        if fault.ahead and scene.before is None:
            _poke(stage, scene)
        first = _end(scene, stage, "first")
        assert _met(stage, fault), f"{fault_name} never met {scene_name}"
        stage.behave()
        stage.sandbox.listen(scene.service)
        stage.hurry.skip(2 * HALF_AN_HOUR if fault.ahead else 0.0)
        second = _end(scene, stage, "again")
        _check_unlisted(scene, stage)
        return Ends(first=first, second=second)


def _end(scene: Scene, stage: Stage, which: str) -> End:
    result = scene.act(stage) if which == "first" else scene.again(stage)
    if result.exit_code == 1 or (result.exception and not isinstance(result.exception, SystemExit)):
        raise AssertionError(f"a bug: {result.output}")
    return End(exit_code=result.exit_code, become=scene.become(stage, result))


def _check_unlisted(scene: Scene, stage: Stage) -> None:
    if scene is not SCENES["create"]:
        assert stage.registered() >= {*UNLISTED}, "a device was removed that was not listed"
    assert stage.sandbox.oem_direct.trips == (), "a tenant was sent"


def _rule(scene: Scene, fault: Fault) -> Mapping[str, Any]:
    if fault.ahead:
        match = scene.before or {"service": scene.service, "operation": "unknown"}
        return {"match": {**match, "times": 1}, "fault": fault.says}
    times = {} if fault.ever else {"times": 1}
    return {"match": {**scene.match, **times}, "fault": fault.says}


def _met(stage: Stage, fault: Fault) -> bool:
    return any(entry.fault == fault.says["kind"] for entry in stage.sandbox.log.entries)


def _poke(stage: Stage, scene: Scene) -> None:
    """Ask for nothing, so that the outage begins behind the answer."""
    address = urlsplit(stage.sandbox.urls[scene.service])
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    connection.request("GET", "/nothing")
    connection.getresponse().read()
    connection.close()
