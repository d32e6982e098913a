"""What decoding and checking hardware hashes costs per 100,000 devices.

    python -m tests.bench.hash_decode --devices 20000

Different invented machines, each with the columns beside its hash. The baseline is what nobody
can leave out: `base64.b64decode` of the same texts. Each line is the best of three rounds on one
core, by CPU time, so that a busy machine changes it little.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable

from partner_tools.intake import hardware_hash
from partner_tools.intake.batch_hashes import check
from partner_tools.model import Device, Identity
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


def _seconds(work: Callable[[], Iterable[object]]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        deque(work(), maxlen=0)
        rounds.append(time.process_time() - began)
    return min(rounds)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="measure decoding of hardware hashes")
    parser.add_argument("--devices", type=int, default=20_000)
    count = parser.parse_args(arguments).devices
    batch = devices(count)
    texts = [device.identity.hardware_hash or "" for device in batch]
    measured = {
        "base64.b64decode alone": _seconds(lambda: map(base64.b64decode, texts)),
        "verify: lengths and checksum": _seconds(lambda: map(hardware_hash.verify, texts)),
        "decode: every value": _seconds(lambda: map(hardware_hash.decode, texts)),
        "check: decode, compare, complete": _seconds(lambda: check(batch, file="bench")),
    }
    baseline = measured["base64.b64decode alone"]
    sys.stdout.write(f"{count:,} devices, 4,000 characters each\n")
    for name, taken in measured.items():
        sys.stdout.write(
            f"  {name:34} {taken / count * 100_000:6.2f} s per 100,000 "
            f"({count / taken:9,.0f} a second, {taken / baseline:4.1f} times the baseline)\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
