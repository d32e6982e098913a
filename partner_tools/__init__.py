"""Takes devices out of Windows Autopilot in bulk, exactly, and hands the rest to the customer.

    from partner_tools import RunOptions, open_workspace

    with open_workspace() as workspace:
        result = workspace.deregister("retired.csv", via="partner-center", customer="contoso.com",
                                      options=RunOptions(yes=True))

`docs/how-to/python.md` has an example for each step. Importing this package loads nothing else:
`__init__.pyi` lists the public names, and each is read from its module when it is asked for.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any


@cache
def _homes() -> dict[str, tuple[str, str]]:
    """Each public name's module and its name there, as the stub beside this file lists them."""
    import ast
    from pathlib import Path

    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: (each.module or "", alias.name)
        for each in stub.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }


def __getattr__(name: str) -> Any:
    """Load a name's module when it is asked for: `import partner_tools` stays cheap."""
    if name == "__version__":
        from importlib.metadata import version

        return version("partner-tools")
    if name == "__all__":
        return sorted(_homes())
    # A dunder is asked for by the import system itself, for which the stub need not be read.
    if name.startswith("__") or name not in _homes():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _homes()[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    """The public names, for tab completion."""
    return [*sorted(_homes()), "__version__"]
