"""Letters that look like Latin ones but are others, so that a word cannot hide behind them. Pure.

Only what a name is searched by is read so, never what is sent or shown.
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


def as_latin(text: str) -> str:
    r"""The text in small letters without accents and marks, each letter as the one it looks like.

    >>> as_latin("\u0422\u0435n\u0430ntID"), as_latin("\uff34\u200be\u0301nant")
    ('tenantid', 'tenant')
    """
    wide = unicodedata.normalize("NFKD", text).casefold()
    visible = (c for c in wide if unicodedata.category(c) not in ("Cf", "Cc", "Mn", "Me"))
    return "".join(visible).translate(_LATIN)
