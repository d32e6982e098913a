"""The customer's own side of the sandbox, behind its own door: look into a tenant, and let happen
what no service of Microsoft Graph does.

Below `/graph/{tenant or domain}`: `GET` the truth · `POST …/check-in` every machine ·
`POST …/machines/{serial or deviceId}/check-in` one of them · `DELETE …/computers/{serial or
deviceId}` its computer object in Active Directory · `POST …/connect` a cycle of Entra Connect ·
`POST …/approvals/{code}/{approved or rejected or cancelled}` the other administrator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from partner_tools.sandbox.graph.estate import Estate, Machine
from partner_tools.sandbox.graph.intune import status_of
from partner_tools.sandbox.graph.leaving import check_in, connect, delete_computer
from partner_tools.sandbox.wire import Request, Response, json_response

DECISIONS = frozenset({"approved", "rejected", "cancelled"})
DONE = Response(status=204)


def answer(request: Request, estate: Estate, now: float) -> Response | None:
    """What is asked of one tenant; None where there is nothing of that name."""
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
