"""`completion`: the script that lets a shell complete commands, options and their values."""

from __future__ import annotations

import click

from partner_tools.cli.app import Call, command

VARIABLE = "_PARTNER_TOOLS_COMPLETE"
"""The variable that tells click that a shell asks; click derives it from the program's name."""

SHELLS = ("bash", "zsh", "fish", "powershell")


@command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion(call: Call, shell: str) -> int:
    """Print the script for shell completion.

    Add the line for your shell to ~/.bashrc, ~/.zshrc, ~/.config/fish/config.fish or, in
    PowerShell, the file that $PROFILE names.

    \b
    Example:
      eval "$(partner-tools completion bash)"
      eval "$(partner-tools completion zsh)"
      partner-tools completion fish | source
      partner-tools completion powershell | Out-String | Invoke-Expression
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"this version of click does not know {shell}")
    source = found(root, {}, "partner-tools", VARIABLE).source()
    click.echo(_quoting(source) if shell == "powershell" else source)
    return 0


def _quoting(source: str) -> str:
    """Click's script for PowerShell, with values quoted: click 8.5 completes `my list.csv` bare.

    A file that is half typed inside quotes is found as well.
    """
    quote = (
        "    $quote = { param($text) if ($text -match '^[A-Za-z0-9_./:\\\\=+-]+$') { $text } else"
        """ { "'" + ($text -replace "['\\u2018-\\u201b]", '$0$0') + "'" } }\n"""
    )
    for given, ours in (
        (
            '    $prefix = "$wordToComplete*"\n',
            f"{quote}    $prefix = $wordToComplete.Trim([char]34, [char]39) + '*'\n",
        ),
        ("$value, $value, ", "(& $quote $value), $value, "),
        ("$_.FullName, $_.Name, ", "(& $quote $_.FullName), $_.Name, "),
    ):
        source = source.replace(given, ours)
    return source
