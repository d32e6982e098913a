"""The services as they behave, on loopback: for demos, users' pipelines and our tests."""

from __future__ import annotations

from partner_tools.sandbox.faults import Faults
from partner_tools.sandbox.reading import (
    faults_from,
    read_faults,
    read_seed,
    seed_from,
    shipped_seed,
)
from partner_tools.sandbox.sandbox import Sandbox, serve
from partner_tools.sandbox.seed import Seed

__all__ = [
    "Faults",
    "Sandbox",
    "Seed",
    "faults_from",
    "read_faults",
    "read_seed",
    "seed_from",
    "serve",
    "shipped_seed",
]
