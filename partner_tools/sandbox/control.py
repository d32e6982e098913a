"""The control API, for a pipeline in another process: inspect a sandbox, and change its faults.

`docs/reference/sandbox.md` lists its paths. Those below `/graph` do what no service of Microsoft
Graph does in a customer's tenant. Requests to it are neither logged nor met by faults. It needs no
token: it is on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from partner_tools.errors import InputError
from partner_tools.sandbox.core import Log
from partner_tools.sandbox.faults import Faults, checked_faults
from partner_tools.sandbox.graph import deletion
from partner_tools.sandbox.graph.estate import Estate
from partner_tools.sandbox.graph.operations import status_of
from partner_tools.sandbox.graph.service import Estates
from partner_tools.sandbox.partner_center_wire import device_item
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Delivery, Request, Response, json_response

DECISIONS = frozenset({"approved", "rejected", "cancelled"})
DONE = Response(status=204)
NOTHING = json_response(404, {"error": "there is nothing here"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """Answers questions about a sandbox."""

    state: State
    log: Log
    behave: Callable[[Faults], None]
    estates: Estates
    clock: Callable[[], float]

    def serve(self, request: Request) -> Delivery:
        return Delivery(response=self._answer(request))

    def _answer(self, request: Request) -> Response:
        match request.method, request.segments:
            case "GET", ("log",):
                entries = [asdict(entry) for entry in self.log.entries]
                return json_response(200, {"requests": entries})
            case "GET", ("counts",):
                return json_response(200, self.log.counts())
            case "DELETE", ("log",):
                self.log.clear()
                return DONE
            case "GET", ("devices", customer) if self.state.customer(customer):
                devices = [
                    {"batchId": placed.batch_id, **device_item(placed.device)}
                    for placed in self.state.devices(customer)
                ]
                return json_response(200, {"devices": devices})
            case "PUT", ("faults",):
                try:
                    self.behave(checked_faults(json.loads(request.body), "the request"))
                except (ValueError, RecursionError, InputError) as error:
                    return json_response(400, {"error": str(error)})
                return DONE
            case _, ("graph", tenant, *_) if self.state.customer(tenant):
                with self.state.lock:
                    return _answer_tenant(request, self.estates.of(tenant), self.clock())
        return NOTHING


def _answer_tenant(request: Request, estate: Estate, now: float) -> Response:
    """Answer a question about one tenant, or have something happen there."""
    match request.method, request.segments[2:]:
        case "GET", ():
            return json_response(200, estate.truth())
        case "POST", ("check-in",):
            machines, act = [*estate.machines], deletion.check_in
        case "POST", ("machines", name, "check-in"):
            machines, act = estate.machines_named(name), deletion.check_in
        case "DELETE", ("computers", name):
            machines = [one for one in estate.machines_named(name) if one.computer is not None]
            act = deletion.delete_computer
        case "POST", ("connect",):
            deletion.connect(estate, now)
            return DONE
        case "POST", ("approvals", code, decision) if decision in DECISIONS:
            return _decide(estate, code, decision, now)
        case _:
            return NOTHING
    for machine in machines:
        act(estate, machine, now)
    return DONE if machines else NOTHING


def _decide(estate: Estate, code: str, decision: str, now: float) -> Response:
    approval = estate.approvals.get(code.lower())
    if approval is None:
        return NOTHING
    status = status_of(approval, now)
    if status != "needsApproval":
        return json_response(409, {"error": f"the request is {status}"})
    approval.status = decision
    return DONE
