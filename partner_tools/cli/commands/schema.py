"""`schema`: lists or prints the JSON Schemas."""

from __future__ import annotations

import json

import click

from partner_tools.cli import completers
from partner_tools.cli.app import Call, command


@command("schema")
@click.argument("name", required=False, shell_complete=completers.schemas)
def schema(_call: Call, name: str | None) -> None:
    """List the JSON Schemas, or print one.

    \b
    Example:
      partner-tools schema batch
    """
    from partner_tools import load_schema, schema_names

    if name is None:
        for each in schema_names():
            click.echo(each)
        return
    if name not in schema_names():
        import difflib

        near = difflib.get_close_matches(name, schema_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(schema_names())}"
        raise click.UsageError(f"there is no schema {name!r}; {hint}")
    click.echo(json.dumps(load_schema(name), indent=2, ensure_ascii=False))
