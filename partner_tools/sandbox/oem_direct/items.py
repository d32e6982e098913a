"""What the service makes of each device of a call: the truth of the sandbox, under item faults."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from partner_tools.sandbox.faults import ItemFault, ItemKind
from partner_tools.sandbox.seed import SeedDevice
from partner_tools.sandbox.state import Removal, State

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One device of a call, as it was named. `place` is its position in the call from 0."""

    place: int
    ref: str = ""
    pkid: str = ""
    serial: str = ""
    manufacturer: str = ""
    model: str = ""

    @property
    def key(self) -> Key | None:
        """What it is found by: the product key id, else the whole tuple."""
        if self.pkid:
            return ("pkid", self.pkid)
        parts = (self.serial, self.manufacturer, self.model)
        return ("tuple", *parts) if all(parts) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one device: no number and no name where it was removed."""

    asked: Asked
    number: str = ""
    name: str = ""
    fault: ItemKind | None = None

    @property
    def ok(self) -> bool:
        """Whether the registration is gone by this call."""
        return not self.number and not self.name


NAMES: Mapping[str, str] = {
    "803": "MissingZtdSerialNumberAndProductKey",
    "807": "ZtdDeviceIsNotRegistered",
    "811": "ZtdDeviceRegisteredByOtherTenant",
    "812": "ZtdDeviceNotFound",
    "813": "ZtdDeviceIsNotUnique",
}


class Register:
    """Removes devices by identity from whichever customer holds them. Thread-safe."""

    def __init__(self, state: State, faults: Callable[[], Iterable[ItemFault]]) -> None:
        self._state = state
        self._faults = faults
        self._lock = threading.Lock()
        self._hits: defaultdict[tuple[ItemFault, str], int] = defaultdict(int)
        self._known: dict[Key, list[tuple[str, str, str]]] = {}

    def remove(self, asked: Asked, *, lag: float = 0.0) -> Done:
        """Remove one device, or say why not."""
        with self._lock:
            fault = self._fault(asked)
            if fault is not None and fault.kind is ItemKind.CODE:
                return Done(asked=asked, number=fault.number, name=fault.name, fault=fault.kind)
            done = self._removed(asked, lag)
            return done if fault is None else replace(done, fault=fault.kind)

    def forget(self) -> None:
        """Count the hits of item faults anew."""
        with self._lock:
            self._hits.clear()

    def objection(self, asked: Asked) -> Done:
        """What a validation says of a device: it changes nothing."""
        return _refused(asked, "803") if asked.key is None else Done(asked=asked)

    def _removed(self, asked: Asked, lag: float) -> Done:
        if asked.key is None:
            return _refused(asked, "803")
        places = self._places(asked.key)
        if not places:
            return _refused(asked, "812" if self._unknown(asked) else "807")
        if len(places) > 1:
            return _refused(asked, "813")
        removal = self._state.remove(*places[0], lag=lag)
        if removal is Removal.DONE:
            return Done(asked=asked)
        refused = removal in (Removal.NOT_OWNED, Removal.NOT_ALLOWED)
        return _refused(asked, "811" if refused else "807")

    def _places(self, key: Key) -> list[tuple[str, str, str]]:
        """Where this identity is registered now."""
        if key not in self._known:
            self._known = self._indexed()
        return [place for place in self._known.get(key, ()) if self._state.find(*place)]

    def _indexed(self) -> dict[Key, list[tuple[str, str, str]]]:
        found: defaultdict[Key, list[tuple[str, str, str]]] = defaultdict(list)
        found.update(self._known)
        for customer in self._state.customers():
            for placed in self._state.devices(customer.tenant_id):
                place = (customer.tenant_id, placed.batch_id, placed.device.id)
                for key in _keys(placed.device):
                    if place not in found[key]:
                        found[key].append(place)
        return dict(found)

    def _unknown(self, asked: Asked) -> bool:
        return not self._state.seed.unknown_to_autopilot.isdisjoint({asked.serial, asked.pkid})

    def _fault(self, asked: Asked) -> ItemFault | None:
        for fault in self._faults():
            named = fault.serials & {asked.serial, asked.pkid}
            if not named:
                continue
            hits = (fault, min(named))
            if fault.times is not None and self._hits[hits] >= fault.times:
                continue
            self._hits[hits] += 1
            return fault
        return None


def _refused(asked: Asked, number: str) -> Done:
    return Done(asked=asked, number=number, name=NAMES[number])


def _keys(device: SeedDevice) -> Iterable[Key]:
    if device.product_key:
        yield ("pkid", device.product_key)
    if device.serial_number and device.manufacturer and device.model_name:
        yield ("tuple", device.serial_number, device.manufacturer, device.model_name)
