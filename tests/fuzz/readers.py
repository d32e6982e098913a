"""Hostile files and answers: every reader takes them, or refuses them in words, quickly.

    python -m tests.fuzz.readers --count 20000 --seed 7 [--reader plan]

prints for each reader how many inputs it took and refused, and ends with 1 at the first one that
it neither took nor refused; Hypothesis makes that input small first. Inputs are valid files and
answers into which bytes were cut and put, or, where they are JSON, values and properties.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from partner_tools.clients.graph import Graph
from partner_tools.clients.oauth import App, MsalHttpClient, app_only
from partner_tools.clients.oem.client import Ids, OemDirect
from partner_tools.clients.oem.profile import read_profile
from partner_tools.clients.oem.wire import Entry
from partner_tools.clients.partner_center import JobId, PartnerCenter
from partner_tools.clients.transport import Reply, Request, Secret, Transport
from partner_tools.config import Config, read_config
from partner_tools.errors import PartnerToolsError
from partner_tools.intake.batch import read_batch
from partner_tools.intake.batch_metadata import IntakeOptions
from partner_tools.intake.source import Source
from partner_tools.json_forms import digest
from partner_tools.model import Identity
from partner_tools.outstanding.search import By, Collection, Question
from partner_tools.plan import plan_document
from partner_tools.runs.cleanup import read_order
from partner_tools.sandbox import read_faults, read_seed
from partner_tools.signing import Purpose
from partner_tools.workspace.approvals import load_signatures
from partner_tools.workspace.batches import load_plan
from partner_tools.workspace.environment import named_faults
from partner_tools.workspace.wiring import held
from tests.clients.oem_profiles import faults as profile_faults
from tests.clients.oem_profiles import plain_profile
from tests.report.fleet import handoff, mixed

SLOW = 5.0
"""Seconds of the processor that no input of these sizes may take."""
SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CASES = Path(__file__).resolve().parents[1] / "cases" / "batch"
NOW = datetime(2026, 4, 17, 10, 15, tzinfo=UTC)
TENANT = "8f6d2f0a-4c0f-4f63-9f0e-3a1f5c7d9b21"
IDENTITIES = [Identity(serial_number="S")]

FRAGMENTS = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b'"',
    b"\\ud800",
    b"\\u0000",
    "\u202e\u2066\u200b\u2028".encode(),
    b"\x1b[2J",
    b"NaN",
    b"1e400",
    b"9" * 5000,
    b"[" * 3000,
    b'{"a":' * 3000,
    b"{a=" * 500,
    b"a.a." * 500,
    b"<a>" * 500,
    b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>',
    b"=cmd|' /C calc'!A0",
    b"../../etc/passwd",
    b"null",
    b"true",
    b"-1",
    b"[]",
    b"{}",
)
"""What is put in: each has broken some program."""

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, -(2**63), 10**400])
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=12)
    | st.sampled_from(
        ["", "\ud800", "\x00", "../..", "sha256:", "2026-13-45T99:99:99Z", "9" * 300]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Something that reads foreign bytes. `read` raises PartnerToolsError to refuse them."""

    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]


def _in_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of paths as one of bytes."""

    def of_bytes(content: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_bytes(content)
            return read(path)

    return of_bytes


def _batch(content: bytes) -> object:
    intake = read_batch(Source(name="batch", content=content), IntakeOptions())
    assert (intake.batch is None) == any(each.severity == "error" for each in intake.problems)
    return intake


def _config(path: Path) -> object:
    return read_config(
        named=path,
        profile=None,
        environment={},
        user_folder=path,
        validate=lambda profiles: named_faults("config", profiles),
    )


def _hold_list(path: Path) -> object:
    return held(Config(settings={"guards": {"hold_list": str(path)}}))


def _plan(path: Path) -> object:
    """As it is, and sealed anew, as somebody would who made a plan of their own."""
    with suppress(ValueError, RecursionError, AttributeError):
        document = json.loads(path.read_bytes())
        document.pop("digest", None)
        path.write_bytes(_json({**document, "digest": digest(document)}))
    plan, _ = load_plan(path)
    return plan_document(plan)


def _signatures(path: Path) -> object:
    return load_signatures(path, Purpose.APPROVAL)


@dataclass(slots=True)
class _Wire:
    """Stands where a transport does, and answers everything alike."""

    body: bytes
    status: int = 200
    base_url: str = "https://service.example"

    def send(self, _request: Request, **_more: object) -> Reply:
        """The answer."""
        headers = {"Content-Type": "application/json", "Location": self.body[:80].decode("latin-1")}
        return Reply(status=self.status, headers=headers, body=self.body)

    def renew_token(self) -> None:
        """There is none."""

    def close(self) -> None:
        """There is nothing open."""


def _each_refused_or_taken(calls: Mapping[str, Callable[[], object]]) -> object:
    """Make every call; raise the refusal only where all were refused."""
    refusals: list[PartnerToolsError] = []
    for call in calls.values():
        try:
            call()
        except PartnerToolsError as error:
            str(error).encode()
            refusals.append(error)
    if len(refusals) == len(calls):
        raise refusals[0]
    return calls


def _partner_center(body: bytes) -> object:
    made: dict[str, Callable[[], object]] = {}
    for status in (200, 202, 400, 403, 404, 500):
        wire = cast("Transport", _Wire(body, status))
        client = PartnerCenter(wire, ids=lambda: "r", correlation_id="c")
        made |= {
            f"customer {status}": partial(client.customer, TENANT),
            f"customers {status}": client.customers,
            f"batches {status}": partial(client.batches, TENANT),
            f"devices {status}": partial(client.devices, TENANT, "b"),
            f"delete {status}": partial(client.delete, TENANT, "b", "d", request_id="r"),
            f"job {status}": partial(client.job, TENANT, JobId("j")),
            f"register {status}": partial(
                client.register, TENANT, "b", [Identity(serial_number="S")]
            ),
        }
    return _each_refused_or_taken(made)


def _graph(body: bytes) -> object:
    questions = [Question(collection=Collection.INTUNE, by=By.SERIAL, value="5CD333527Z")] * 2
    made: dict[str, Callable[[], object]] = {}
    for status in (200, 403, 500):
        client = Graph(cast("Transport", _Wire(body, status)), ids=lambda: "r")
        made |= {f"{each} {status}": partial(client.page, each) for each in Collection} | {
            f"batch {status}": partial(client.batch, questions)
        }
    return _each_refused_or_taken(made)


def _oem(profile_text: str) -> Callable[[bytes], object]:
    profile = plain_profile(profile_text)
    entries = [
        Entry(ref="1", identity=Identity(serial_number="S1", product_key_id="3305670000002"))
    ]

    def read(body: bytes) -> object:
        made: dict[str, Callable[[], object]] = {}
        for status in (200, 202, 400, 500):
            wire = cast("Transport", _Wire(body, status, "http://127.0.0.1:9"))
            client = OemDirect(wire, profile, now=lambda: NOW)
            ids = Ids(request_id="r", correlation_id="c")
            made |= {
                f"deregister {status}": partial(client.deregister, entries, ids),
                f"progress {status}": partial(client.progress, "h", entries, ids),
            }
        return _each_refused_or_taken(made)

    return read


def _sign_in(body: bytes) -> object:
    door = MsalHttpClient(
        "https://login.example", connect=lambda _url: cast("Transport", _Wire(body))
    )
    app = App(tenant="t.example", client_id="c", login_url="https://login.example")
    return app_only(app, Secret("marked"), http=door).token()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def _sealed_plan() -> bytes:
    plan: dict[str, Any] = {
        "schemaVersion": "1",
        "run": "20260417-101530-4f2a9c",
        "channel": "partner-center",
        "createdAt": NOW.isoformat(),
        "batchId": "b",
        "batchDigest": f"sha256:{'0' * 64}",
        "reason": "other",
        "customers": [{"tenantId": TENANT, "estate": 1, "removals": 1}],
        "counts": {"pending": 1},
        "notes": [],
        "devices": [
            {
                "row": 1,
                "serialNumber": "S1",
                "outcome": "pending",
                "customer": TENANT,
                "target": {"batchId": "B", "deviceId": "d1"},
                "found": {"serialNumber": "S1"},
            }
        ],
    }
    return _json({**plan, "digest": digest(plan)})


_PAGE = {
    "totalCount": 1,
    "items": [{"id": "i", "serialNumber": "S1", "allowedOperations": ["DELETE"]}],
    "links": {"next": {"uri": "/customers?size=1", "method": "GET", "headers": []}},
}
_GRAPH_ROW = {"id": "1", "serialNumber": "S1", "azureADDeviceId": "2", "physicalIds": ["[ZTDID]:3"]}

READERS: Mapping[str, Reader] = {
    "batch": Reader(
        seeds=tuple(
            _sample(f"{name}.{suffix}")
            for name in ("partner-center", "oem-direct")
            for suffix in ("csv", "json", "jsonl", "xlsx")
        )
        + tuple(sorted(each.read_bytes() for each in CASES.glob("*/*.csv"))),
        read=_batch,
    ),
    "plan": Reader(seeds=(_sealed_plan(),), read=_in_file(_plan)),
    "handoff": Reader(
        seeds=(_json(handoff(mixed()[:3])),),
        read=_in_file(read_order),
    ),
    "signatures": Reader(
        seeds=(
            _json(
                {
                    "schemaVersion": "1",
                    "purpose": "plan-approval",
                    "digest": f"sha256:{'0' * 64}",
                    "signatures": [],
                }
            ),
        ),
        read=_in_file(_signatures),
    ),
    "configuration": Reader(
        seeds=(b'[default]\nvia = "partner-center"\n[default.limits]\nmax_devices = 5\n',),
        read=_in_file(_config),
    ),
    "hold list": Reader(seeds=(b"SN-1\r\nSN-2\n",), read=_in_file(_hold_list)),
    "wire profile": Reader(
        seeds=tuple(_sample(f"oem-{name}.toml") for name in ("sync", "location", "ack-list")),
        read=lambda content: read_profile(content.decode("utf-8", "replace"), profile_faults),
    ),
    "sandbox seed": Reader(
        seeds=(
            _json(
                {
                    "schemaVersion": "1",
                    "partner": {"domain": "p.example"},
                    "customers": [{"domain": "c.example", "batches": [{"id": "b", "devices": []}]}],
                }
            ),
        ),
        read=_in_file(read_seed),
    ),
    "sandbox faults": Reader(seeds=(_sample("sandbox-faults.json"),), read=_in_file(read_faults)),
    "Partner Center": Reader(
        seeds=(
            _json(_PAGE),
            _json({"code": 20002, "description": "No."}),
            _json({"status": "finished", "devicesStatus": [{"id": "d", "status": "x"}]}),
            b"",
        ),
        read=_partner_center,
    ),
    "Microsoft Graph": Reader(
        seeds=(
            _json({"value": [_GRAPH_ROW], "@odata.nextLink": "https://service.example/n"}),
            _json(
                {
                    "responses": [
                        {"id": "0", "status": 200, "headers": {}, "body": {"value": [_GRAPH_ROW]}},
                        {"id": "1", "status": 429, "headers": {"Retry-After": "3"}, "body": {}},
                    ]
                }
            ),
            _json({"error": {"code": "x", "message": "{}"}}),
        ),
        read=_graph,
    ),
    "OEM Direct, JSON": Reader(
        seeds=(_json({"Results": [{"LineItemNumber": "1", "Status": "Success"}]}),), read=_oem("")
    ),
    "OEM Direct, XML": Reader(
        seeds=(
            b"<R><Results><Result><LineItemNumber>1</LineItemNumber><Status>Success</Status>"
            b"</Result></Results></R>",
        ),
        read=_oem("media_type = 'application/xml'"),
    ),
    "sign-in": Reader(
        seeds=(
            _json(
                {
                    "authorization_endpoint": "https://login.example/a",
                    "token_endpoint": "https://login.example/t",
                    "issuer": "https://login.example/t.example/v2.0",
                    "access_token": "a.b.c",
                    "expires_in": 3600,
                    "token_type": "Bearer",
                }
            ),
            _json({"error": "invalid_client", "error_description": "AADSTS7000215: no"}),
        ),
        read=_sign_in,
    ),
}


@st.composite
def mutations(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds, changed in up to three places."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        content = _changed(draw, content)
    return content


def _changed(draw: st.DrawFn, content: bytes) -> bytes:
    kind = draw(st.sampled_from(["cut", "value", "part"]))
    if kind == "value":
        try:
            return _with_value(draw, json.loads(content))
        except (ValueError, RecursionError):
            pass
    if kind == "part" and content.startswith(b"PK"):
        return _with_part(draw, content)
    start = draw(st.integers(0, max(0, len(content) - 1)))
    length = draw(st.integers(0, 20))
    put = draw(st.sampled_from(FRAGMENTS) | st.binary(max_size=8))
    return content[:start] + put + content[start + length :]


def _with_value(draw: st.DrawFn, document: Any) -> bytes:
    """The document with another value, or another property, at some place."""
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        found = waiting.pop()
        for name, value in _inner(found):
            places.append((found, name))
            if isinstance(value, dict | list):
                waiting.append(value)
        if isinstance(found, dict):
            places.append((found, draw(st.text(max_size=6))))
    if not places:
        return _json(draw(VALUES))
    holder, name = draw(st.sampled_from(range(len(places))).map(places.__getitem__))
    holder[name] = draw(VALUES)
    return _json(document)


def _inner(found: Any) -> list[tuple[Any, Any]]:
    if isinstance(found, dict):
        return list(found.items())
    return list(enumerate(found)) if isinstance(found, list) else []


def _with_part(draw: st.DrawFn, content: bytes) -> bytes:
    """The workbook with one part changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
    except Exception:  # noqa: BLE001 - an earlier change broke it, in any of a dozen ways
        return content
    if not parts:
        return content
    name = draw(st.sampled_from(sorted(parts)))
    parts[name] = _changed(draw, parts[name])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    return out.getvalue()


def fuzz(name: str, *, count: int, number: int) -> Counter[str]:
    """Try `count` inputs on one reader, the same ones for the same number; how they ended.

    Raises whatever the reader raised for an input that it neither took nor refused.
    """
    reader, seen = READERS[name], Counter[str]()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations(reader.seeds))
    def one(content: bytes) -> None:
        began = time.thread_time()
        try:
            reader.read(content)
            seen["taken"] += 1
        except PartnerToolsError as error:
            assert str(error).isprintable() or "\n" in str(error), ascii(str(error))
            seen["refused"] += 1
        took = time.thread_time() - began
        assert took < SLOW, f"{took:.1f} s"

    one()
    return seen


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=20_000, help="inputs for each reader")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--reader", choices=list(READERS), action="append")
    given_ = parser.parse_args()
    for name in given_.reader or READERS:
        began = time.perf_counter()
        seen = fuzz(name, count=given_.count, number=given_.seed)
        seconds = time.perf_counter() - began
        print(f"{name}: {seen['taken']:,} taken, {seen['refused']:,} refused, {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
