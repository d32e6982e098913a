"""The bill of materials of an installation, as CycloneDX 1.6 in JSON.

    python -m tests.supply.bom dist/sbom.cdx.json

The library is used itself: its command line brings validators that slow down every import of
jsonschema beside it. The same installation gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from tests.supply.closure import dependencies, licence_of


def bill_of_materials() -> bytes:
    """Every distribution with its version, its address among packages, and its licences."""
    own = _component("partner-tools", ComponentType.APPLICATION, frozenset({"MIT"}))
    parts = [
        _component(name, ComponentType.LIBRARY, frozenset(licence_of(name)))
        for name in sorted(dependencies())
    ]
    bom = Bom(components=parts)
    bom.metadata.component = own
    bom.register_dependency(own, parts)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return f"{json.dumps(document, indent=1, sort_keys=True)}\n".encode()


def _component(name: str, kind: ComponentType, licences: frozenset[str]) -> Component:
    version = metadata.version(name)
    return Component(
        name=name,
        version=version,
        type=kind,
        bom_ref=f"{name}@{version}",
        purl=PackageURL(type="pypi", name=name, version=version),
        licenses=[DisjunctiveLicense(name=each) for each in sorted(licences)],
    )


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(bill_of_materials())
