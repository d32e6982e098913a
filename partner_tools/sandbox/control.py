"""The sandbox's own door, for a pipeline in another process: look into it, and change its faults.

`GET /log` every request · `GET /counts` how often what was answered · `DELETE /log` forget them ·
`GET /devices/{tenant or domain}` what is registered in truth · `PUT /faults` go on under another
faults file · `/graph/{tenant or domain}…` the customer's own side, see `graph.door`. Nothing here
is logged, and no fault meets it. It asks for no token: it is on loopback.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from partner_tools.errors import InputError
from partner_tools.sandbox.faults import Faults
from partner_tools.sandbox.log import Log
from partner_tools.sandbox.partner_center.shapes import device_item
from partner_tools.sandbox.reading import checked_faults
from partner_tools.sandbox.state import State
from partner_tools.sandbox.wire import Delivery, Request, Response, json_response


class Control:
    """Answers questions about a sandbox."""

    def __init__(
        self,
        state: State,
        log: Log,
        behave: Callable[[Faults], None],
        graph: Callable[[Request], Response | None],
    ) -> None:
        self._state = state
        self._log = log
        self._behave = behave
        self._graph = graph

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
        return self._graph(request) or json_response(404, {"error": "there is nothing here"})

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
