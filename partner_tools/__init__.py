"""Takes devices out of Windows Autopilot in bulk, exactly, and hands the rest to the customer."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """Read the version only when somebody asks: importlib.metadata costs start-up time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("partner-tools")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
