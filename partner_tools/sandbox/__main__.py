"""`python -m partner_tools.sandbox`: the sandbox alone, without the rest of the program."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partner_tools.errors import PartnerToolsError
from partner_tools.sandbox import serve


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m partner_tools.sandbox", description=__doc__)
    parser.add_argument("--seed", type=Path, help="what exists: a sandbox-seed file")
    parser.add_argument("--faults", type=Path, help="what goes wrong: a sandbox-faults file")
    parser.add_argument("--port", type=int, default=0, help="of the first service; 0: any")
    given = parser.parse_args()
    try:
        serve(given.seed, given.faults, given.port, _announce)
    except PartnerToolsError as error:
        sys.stderr.write(f"{error}; {error.remedy}\n")
        return error.exit_code
    return 0


def _announce(told: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
