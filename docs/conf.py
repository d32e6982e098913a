"""Builds the documentation site: `make site`. Every warning, a dead link among them, is an error.

The pages are plain Markdown that also reads well in the repository; MyST hands them to Sphinx.
The site needs no network, its search included.
"""

import importlib.metadata
import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]

project = "partner-tools"
author = "the partner-tools maintainers"
copyright = f"2026, {author}"  # noqa: A001 - Sphinx's name for it
release = importlib.metadata.version("partner-tools")

extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True
exclude_patterns = ["_site"]

html_theme = "furo"
html_title = f"partner-tools {release}"
html_copy_source = False

# Pages that stand in the repository's root, where people look for them first.
FROM_THE_ROOT = {
    "index": "README.md",
    "changelog": "CHANGELOG.md",
    "contributing": "CONTRIBUTING.md",
    "security": "SECURITY.md",
}
MOVED = {
    "](docs/": "](",
    "](CHANGELOG.md": "](changelog.md",
    "](CONTRIBUTING.md": "](contributing.md",
    "](SECURITY.md": "](security.md",
    "](../../CHANGELOG.md": "](../changelog.md",
    "](../../README.md": "](../index.md",
    "](../README.md": "](index.md",
    "](../SECURITY.md": "](security.md",
}
# Files that are no pages: here they are named without a link.
FILES = re.compile(r"\[([^\]]+)\]\((?:(?:\.\./)+deploy/[^)]*|LICENSE)\)")
PAGES_BELOW = {"decisions/README": "0*", "reference/schemas": "schemas/*"}


def arrange(_app: Sphinx, page: str, source: list[str]) -> None:
    """Take pages from the root, make links fit, and put under an index what it lists."""
    text = source[0]
    if page in FROM_THE_ROOT:
        text = f"{(ROOT / FROM_THE_ROOT[page]).read_text(encoding='utf-8')}\n{text}"
    for link, moved in MOVED.items():
        text = text.replace(link, moved)
    if page in PAGES_BELOW:
        text += f"\n```{{toctree}}\n:hidden:\n:glob:\n\n{PAGES_BELOW[page]}\n```\n"
    source[0] = FILES.sub(r"\1", text)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", arrange)
    # Drawn where the repository is shown; a drawing program would have to be fetched.
    app.add_lexer("mermaid", TextLexer)
    app.add_lexer("csv", TextLexer)
