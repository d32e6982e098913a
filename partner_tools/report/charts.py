"""Draws bar charts as inline SVG: no script, no style of its own, colours by the page's classes.

The only door of matplotlib. What it draws carries colours as style attributes, which the page's
content security policy forbids; they become presentation attributes, which the page's style sheet
replaces by its own colours for light and dark.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from partner_tools.errors import InputError
from partner_tools.report.words import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#000001"
SERIES = ("#000011", "#000012", "#000013", "#000014")
"""Stand-ins: `templates/summary.css` has a rule for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How wide a drawing is, in inches, and what fits: letters of a name, and labels below."""

    name: str
    inches: float
    letters: int
    labels: int


SIZES = (
    Size(name="wide", inches=7.2, letters=28, labels=6),
    Size(name="narrow", inches=4.4, letters=16, labels=4),
)
"""Each chart is drawn for a desk and for a phone, and the page's style sheet shows one of them: a
drawing that is squeezed cannot be read, and one that has to be moved shows two bars as alike."""
MEASURED = 13
"""Points that room is left for; the page writes smaller, in a font that is not known here."""
LEAST_COLUMNS = 9
"""A chart of fewer days leaves room beside them: one day is a bar, and no wall."""
_KEPT = frozenset(
    {"fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "text-anchor", "fill-opacity"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """A bar for each label, made up of one part for each series, in the order of `series`."""

    title: str
    labels: Sequence[str]
    series: Sequence[Sequence[int]]
    names: Sequence[str] = ()


def columns(bars: Bars) -> str:
    """Upright bars, for days: labels are thinned out so that they do not touch."""
    return "".join(_columns(bars, size) for size in SIZES)


def rows(bars: Bars) -> str:
    """Bars that lie, for names, the first one on top, each with its sum at its end."""
    return "".join(_rows(bars, size) for size in SIZES)


def _columns(bars: Bars, size: Size) -> str:
    figure, axes = _canvas(size, 2.6)
    _stack(axes.bar, bars, "bottom")
    aside = max(0, LEAST_COLUMNS - len(bars.labels)) / 2
    axes.set_xlim(-0.6 - aside, len(bars.labels) - 0.4 + aside)
    step = -(-len(bars.labels) // size.labels)
    axes.set_xticks(range(0, len(bars.labels), step), bars.labels[::step])
    axes.yaxis.get_major_locator().set_params(integer=True)
    return _svg(figure, bars.title, size)


def _rows(bars: Bars, size: Size) -> str:
    figure, axes = _canvas(size, 0.7 + 0.36 * len(bars.labels))
    _stack(axes.barh, bars, "left")
    names = [_short(visible(label), size.letters) for label in bars.labels]
    # A name with two dollar signs is a name and no formula.
    axes.set_yticks(range(len(bars.labels)), names, parse_math=False)
    axes.invert_yaxis()
    axes.xaxis.set_visible(False)
    for place, parts in enumerate(zip(*bars.series, strict=True)):
        axes.annotate(
            f"{sum(parts)}",
            (sum(parts), place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=MEASURED,
        )
    return _svg(figure, bars.title, size)


def _canvas(size: Size, inches_high: float) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise InputError(
            "the summary draws charts, and matplotlib is not installed",
            rule="no-charts",
            remedy="pip install 'partner-tools[charts]'",
        ) from error
    figure = Canvas(figsize=(size.inches, inches_high), layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=INK, labelsize=MEASURED)
    return figure, axes


def _stack(draw: Any, bars: Bars, edge: str) -> None:
    places = range(len(bars.labels))
    before = [0] * len(bars.labels)
    for colour, values in zip(SERIES, bars.series, strict=False):
        draw(places, values, 0.72, color=colour, **{edge: before})
        before = [sum(pair) for pair in zip(before, values, strict=True)]


def _svg(figure: Figure, title: str, size: Size) -> str:
    """The drawing as an element for a page, named for those who do not see it."""
    import matplotlib as mpl

    drawn = StringIO()
    with (
        warnings.catch_warnings(),
        mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "text.color": INK}),
    ):
        # The page writes with fonts of its own, whatever the one measured with here lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    text = drawn.getvalue()
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    for part in ("metadata", "style"):
        body = re.sub(rf"<{part}.*?</{part}>", "", body, flags=re.DOTALL)
    body = re.sub(r'style="([^"]*)"', lambda found: _attributes(found[1]), body)
    body = re.sub(r' id="[\w.]+_[0-9]+"', "", body)  # several drawings share a page
    box = re.search(r'viewBox="([^"]*)"', text)
    named = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    seen = box[1] if box else "0 0 1 1"
    opening = f'<svg role="img" class="{size.name}" aria-label="{named}" viewBox="{seen}">'
    return f"{opening}{body}</svg>"


def _attributes(style: str) -> str:
    """A style as presentation attributes; what the page's style sheet says itself is left out."""
    pairs = (part.partition(":") for part in style.split(";"))
    return " ".join(
        f'{name.strip()}="{value.strip()}"' for name, _, value in pairs if name.strip() in _KEPT
    )


def _short(label: str, letters: int) -> str:
    return label if len(label) <= letters else f"{label[: letters - 1]}…"
