"""Commands as a user can paste them, in the quoting of the shell that they are likely to be in."""

from __future__ import annotations

import os
import re
import shlex

_PLAIN = re.compile(r"[A-Za-z0-9_./:\\=+-]+")
"""Words that PowerShell takes as they are: no `$`, backtick, comma, `@`, `;`, `&`, `~` or blank."""


def pasteable(*words: str, windows: bool = os.name == "nt") -> str:
    """The words as one command line: for PowerShell on Windows, for a POSIX shell elsewhere."""
    return " ".join(map(_for_powershell, words)) if windows else shlex.join(words)


def assigned(name: str, value: str, *, windows: bool = os.name == "nt") -> str:
    """The line that sets an environment variable for what is started from the shell afterwards."""
    if windows:
        return f"$env:{name} = '{_doubled(value)}'"
    return f"export {name}={shlex.quote(value)}"


def _for_powershell(word: str) -> str:
    """The word as PowerShell's single quotes hold it: nothing in them means anything but `'`.

    Typographic quotation marks end a string there as well, and are doubled alike
    (https://learn.microsoft.com/powershell/module/microsoft.powershell.core/about/about_quoting_rules,
    read 2026-11).
    """
    if _PLAIN.fullmatch(word):
        return word
    return f"'{_doubled(word)}'"


def _doubled(text: str) -> str:
    return re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", text)
