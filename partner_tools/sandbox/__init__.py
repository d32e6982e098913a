"""The services as they behave, on loopback: for demos, users' pipelines and our tests."""

from partner_tools.sandbox.faults import Faults as Faults
from partner_tools.sandbox.faults import faults_from as faults_from
from partner_tools.sandbox.faults import read_faults as read_faults
from partner_tools.sandbox.sandbox import Sandbox as Sandbox
from partner_tools.sandbox.sandbox import serve as serve
from partner_tools.sandbox.seed import Seed as Seed
from partner_tools.sandbox.seed import read_seed as read_seed
from partner_tools.sandbox.seed import seed_from as seed_from
from partner_tools.sandbox.seed import shipped_seed as shipped_seed
