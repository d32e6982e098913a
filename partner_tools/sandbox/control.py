"""The control API, for a pipeline in another process: inspect a sandbox, and change its faults.

`GET /log` every request · `GET /counts` how often each answer was given · `DELETE /log` clear it ·
`GET /devices/{tenant or domain}` what is registered in truth · `PUT /faults` replace the faults
file. Requests to it are neither logged nor met by faults. It needs no token: it is on loopback.

The rest does what no service of Microsoft Graph does in a customer's tenant. Below
`/graph/{tenant or domain}`: `GET` the truth · `POST …/check-in` every machine ·
`POST …/machines/{serial or deviceId}/check-in` one of them · `DELETE …/computers/{serial or
deviceId}` its computer object in Active Directory · `POST …/connect` a cycle of Entra Connect ·
`POST …/approvals/{code}/{approved or rejected or cancelled}` the other administrator.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from partner_tools.errors import InputError
from partner_tools.sandbox.core import Log
from partner_tools.sandbox.faults import Faults, checked_faults
from partner_tools.sandbox.graph.deletion import check_in, connect, delete_computer
from partner_tools.sandbox.graph.estate import Estate, Machine
from partner_tools.sandbox.graph.operations import status_of
from partner_tools.sandbox.graph.service import Estates
from partner_tools.sandbox.partner_center_wire import device_item
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Delivery, Request, Response, json_response

DECISIONS = frozenset({"approved", "rejected", "cancelled"})
DONE = Response(status=204)
NOTHING = json_response(404, {"error": "there is nothing here"})


class Control:
    """Answers questions about a sandbox."""

    def __init__(
        self,
        state: State,
        log: Log,
        behave: Callable[[Faults], None],
        estates: Estates,
        clock: Callable[[], float],
    ) -> None:
        self._state = state
        self._log = log
        self._behave = behave
        self._estates = estates
        self._clock = clock

    def serve(self, request: Request) -> Delivery:
        return Delivery(response=self._answer(request))

    def _answer(self, request: Request) -> Response:
        match request.method, request.segments:
            case "GET", ("log",):
                entries = [asdict(entry) for entry in self._log.entries]
                return json_response(200, {"requests": entries})
            case "GET", ("counts",):
                return json_response(200, self._log.counts())
            case "DELETE", ("log",):
                self._log.clear()
                return Response(status=204)
            case "GET", ("devices", customer) if self._state.customer(customer):
                return json_response(200, {"devices": self._devices(customer)})
            case "PUT", ("faults",):
                return self._change(request.body)
            case _, ("graph", tenant, *_) if self._state.customer(tenant):
                with self._state.lock:
                    estate, now = self._estates.of(tenant), self._clock()
                    return _answer_tenant(request, estate, now) or NOTHING
        return NOTHING

    def _devices(self, customer: str) -> list[dict[str, object]]:
        return [
            {"batchId": placed.batch_id, **device_item(placed.device)}
            for placed in self._state.devices(customer)
        ]

    def _change(self, body: bytes) -> Response:
        try:
            self._behave(checked_faults(json.loads(body), "the request"))
        except (ValueError, RecursionError, InputError) as error:
            return json_response(400, {"error": str(error)})
        return Response(status=204)


def _answer_tenant(request: Request, estate: Estate, now: float) -> Response | None:
    """Answer a question about one tenant; None where there is nothing of that name."""
    match request.method, request.segments[2:]:
        case "GET", ():
            return json_response(200, estate.truth())
        case "POST", ("check-in",):
            return _each(estate.machines, lambda one: check_in(estate, one, now))
        case "POST", ("machines", name, "check-in"):
            machines = estate.machines_named(name)
            return _each(machines, lambda one: check_in(estate, one, now))
        case "DELETE", ("computers", name):
            computers = [one for one in estate.machines_named(name) if one.computer is not None]
            return _each(computers, lambda one: delete_computer(estate, one, now))
        case "POST", ("connect",):
            connect(estate, now)
            return DONE
        case "POST", ("approvals", code, decision) if decision in DECISIONS:
            return _decide(estate, code, decision, now)
    return None


def _each(machines: Sequence[Machine], act: Callable[[Machine], None]) -> Response | None:
    for machine in tuple(machines):
        act(machine)
    return DONE if machines else None


def _decide(estate: Estate, code: str, decision: str, now: float) -> Response | None:
    approval = estate.approvals.get(code.lower())
    if approval is None:
        return None
    status = status_of(approval, now)
    if status != "needsApproval":
        return json_response(409, {"error": f"the request is {status}"})
    approval.status = decision
    return DONE
