"""What decoding and checking hardware hashes costs.

Different invented machines, each with the columns beside its hash. The baseline is what nobody
can leave out: `base64.b64decode` of the same texts. CPU time of one core.
"""

from __future__ import annotations

import base64
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from partner_tools.intake import hardware_hash
from partner_tools.intake.hardware_hash import check
from partner_tools.model import Device, Identity
from tests.bench.figures import Figure, Part, in_turns, pairs
from tests.intake.hash_encoder import machine

ROUNDS = 3


def devices(count: int) -> list[Device]:
    return [_device(number) for number in range(count)]


def _device(number: int) -> Device:
    made = machine(number)
    return Device(
        row=number + 2,
        identity=Identity(
            serial_number=made.serial_number,
            manufacturer=made.manufacturer,
            model=made.model,
            product_key_id=made.product_key_id,
            hardware_hash=made.encode(),
        ),
    )


def measure(*, quick: bool) -> Iterator[Part]:
    """Each step alone, and the whole check."""
    batch = devices(50 if quick else 20_000)
    texts = [device.identity.hardware_hash or "" for device in batch]
    forms: dict[str, Callable[[], Iterable[object]]] = {
        "base64.b64decode alone": lambda: map(base64.b64decode, texts),
        "lengths and checksum": lambda: map(hardware_hash.verify, texts),
        "every value": lambda: map(hardware_hash.decode_hash, texts),
        "decoded, compared, completed": lambda: check(batch, file="bench"),
    }
    takes = {name: partial(_seconds, work, len(batch)) for name, work in forms.items()}
    found = in_turns(takes, 1 if quick else ROUNDS)
    baseline, *others = found
    yield Part(
        title="Hardware hashes",
        how=f"{len(batch):,} hashes of 4,000 characters; CPU time for each 100,000.",
        figures=[
            Figure(
                what=name,
                unit="s of CPU",
                values=found[name],
                baseline=baseline,
                against=found[baseline],
                ratios=pairs(found[name], found[baseline]),
            )
            for name in others
        ],
    )


def _seconds(work: Callable[[], Iterable[object]], count: int) -> float:
    began = time.process_time()
    deque(work(), maxlen=0)
    return (time.process_time() - began) / count * 100_000
