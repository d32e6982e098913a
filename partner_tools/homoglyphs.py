"""Texts as they look: a form of names for comparisons in which a near match counts. Pure.

Only search terms are read so, never texts that are sent or shown. Removals are chosen
by exact comparison; the hold list, and whether a device is still there, use these forms.
"""

from __future__ import annotations

import unicodedata

_LIKE = {"a": "аɑαᴀꭺ", "d": "ԁɗᴅ", "e": "еєҽεɛᴇꭼ", "i": "іıιɩɪ", "m": "мᴍ"}  # noqa: RUF001
_LIKE |= {"n": "пոռηνɴ", "o": "оοօσᴏ", "t": "тτŧƭᴛꭲ"}  # noqa: RUF001 - what they are for
"""Of the letters of "tenant", "domain" and "id": small Cyrillic, Greek, Armenian, Cherokee and
phonetic ones (https://www.unicode.org/Public/security/16.0.0/confusables.txt)."""

_LATIN = str.maketrans(
    {other.casefold(): letter for letter, others in _LIKE.items() for other in others}
)


def folded(text: str) -> str:
    r"""The text without width, case, white space and invisible characters.

    >>> folded(" \uff33N-\u200b1 2\u00a0"), folded("sn-12")
    ('sn-12', 'sn-12')
    """
    if text.isascii() and text.isprintable():  # nearly all: a tenth of the time
        return "".join(text.split()).lower()
    wide = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(c for c in wide if unicodedata.category(c)[0] not in "CZ" and c not in _UNSEEN)


_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | {
    chr(point)
    for start, end in ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
    for point in range(start, end + 1)
}
"""Invisible characters, neither space nor format by category: fillers, variation selectors
(https://www.unicode.org/Public/16.0.0/ucd/DerivedCoreProperties.txt, Default_Ignorable)."""


def one_line(text: str, limit: int = 300) -> str:
    r"""A foreign text fit for one line of a message: no control characters, of bearable length.

    >>> one_line("Contoso\nRemove 0 devices?\x1b[2J")
    'Contoso Remove 0 devices? [2J'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def shown_name(text: str | None) -> str | None:
    r"""A foreign name as it may be shown: what is not shown as it is, a line break too, is marked.

    >>> shown_name("Contoso\n\u202eInc."), shown_name("")
    ('Contoso\ufffd\ufffdInc.', None)
    """
    if not text or text.isprintable():
        return text or None
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def as_latin(text: str) -> str:
    r"""The text in small letters without accents and marks, each letter as the one it looks like.

    >>> as_latin("\u0422\u0435n\u0430ntID"), as_latin("\uff34\u200be\u0301nant")
    ('tenantid', 'tenant')
    """
    wide = unicodedata.normalize("NFKD", text).casefold()
    visible = (c for c in wide if unicodedata.category(c) not in ("Cf", "Cc", "Mn", "Me"))
    return "".join(visible).translate(_LATIN)
