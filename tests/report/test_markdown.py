"""The handoff as Markdown, read back by a Markdown parser."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from partner_tools.model import Customer, TenantId
from partner_tools.report.handoff import Document, Partner
from partner_tools.report.texts import LISTED, NAMED, code, write_markdown
from tests.report import fleet

PARSER = MarkdownIt("gfm-like", {"linkify": False})


def written(document: Document) -> str:
    """The Markdown of a handoff."""
    stream = io.BytesIO()
    write_markdown(document, stream)
    return stream.getvalue().decode("utf-8")


def tokens(text: str) -> list[Token]:
    """Everything that a parser sees in it, inline parts included."""
    return [one for token in PARSER.parse(text) for one in (token, *(token.children or ()))]


def test_summary_guide_and_serials_are_there() -> None:
    text = written(fleet.handoff(fleet.mixed()))
    assert "# Device handoff: `Contoso Pharmaceuticals`" in text
    document = fleet.handoff(fleet.mixed())
    assert f"| Removed | {document['summary']['outcomes']['removed']} |" in text
    (order,) = (one["order"] for one in document["guide"] if one["id"] == "delete-from-intune")
    assert f"### {order}. Delete the device from Intune" in text
    assert "Part of the customer's tenant was checked" in text


def test_it_says_first_that_nobody_looked() -> None:
    first = written(fleet.handoff(fleet.unseen())).split("##")[0]
    assert "every step there is listed as not verified" in first


def test_many_serials_are_named_up_to_a_limit() -> None:
    text = written(fleet.handoff(fleet.unseen(count=NAMED + 5)))
    assert "and 5 more in the tables" in text


def test_foreign_text_is_never_markup() -> None:
    enemy = "</p><script>x</script> [a](javascript:1) **b** | # `c` @ada ![i](http://e.example)"
    document = fleet.handoff(
        fleet.hostile(),
        customer=Customer(tenant_id=TenantId(enemy), domain=enemy, name=enemy),
        partner=Partner(tenant_id=enemy, name=enemy, contact=enemy),
    )
    harmless = fleet.handoff(
        fleet.hostile(["x"]),
        customer=Customer(tenant_id=TenantId("x"), domain="x", name="x"),
        partner=Partner(tenant_id="x", name="x", contact="x"),
    )
    kinds = {token.type for token in tokens(written(document))}
    assert kinds <= {token.type for token in tokens(written(harmless))}
    links = {
        token.attrs["href"] for token in tokens(written(document)) if token.type == "link_open"
    }
    sources = {one[name] for one in document["guide"] for name in one if name.endswith("SourceUrl")}
    assert links <= sources | {one["sourceUrl"] for one in document["guide"]}


@given(st.text(min_size=1))
def test_a_code_span_holds_all_of_its_text_and_nothing_else(text: str) -> None:
    span = code(text)
    [paragraph] = [token for token in PARSER.parse(f"a {span} b") if token.type == "inline"]
    kinds = [child.type for child in paragraph.children or ()]
    assert kinds in (["text", "code_inline", "text"], ["text"])
    assert "\n" not in span
    assert "|" not in span


def test_it_ends_with_a_hundred_devices_and_says_where_the_others_are() -> None:
    text = written(fleet.handoff(list(fleet.large(LISTED + 7))))
    table = text.split("## The devices")[1]
    assert table.count("\n| ") == LISTED + 2
    assert "7 more devices are in the workbook" in table


def test_a_command_is_in_a_block_as_every_other_format_has_it() -> None:
    document = fleet.handoff(fleet.mixed())
    blocks = [one.content.rstrip("\n") for one in tokens(written(document)) if one.type == "fence"]
    assert blocks == [one["powershell"] for one in document["guide"] if one["powershell"]]
