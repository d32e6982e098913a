"""The services as they behave, on loopback: for demos, users' pipelines and our tests."""

from __future__ import annotations

from partner_tools.sandbox.faults import Faults, faults_from, read_faults
from partner_tools.sandbox.sandbox import Sandbox, serve
from partner_tools.sandbox.seed import Seed, read_seed, seed_from, shipped_seed

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
