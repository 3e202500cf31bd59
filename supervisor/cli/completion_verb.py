"""`seawall completion bash | zsh | fish`: the script by which a shell asks `seawall` itself what it may offer."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

PROGRAM: Final = "seawall"
VARIABLE: Final = "_SEAWALL_COMPLETE"
"""Source: click's documentation, "Shell Completion": from the program's name."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what SHELL is to read, to complete verbs, options, CONFIG files, children, orders and symbols.

    \b
    bash   eval "$(seawall completion bash)"     in ~/.bashrc
    zsh    eval "$(seawall completion zsh)"      in ~/.zshrc, behind compinit
    fish   seawall completion fish | source      in ~/.config/fish/config.fish

    \b
    Example:
      seawall completion bash
    """
    asked = get_completion_class(shell)
    assert asked is not None
    context = click.get_current_context()
    click.echo(asked(context.find_root().command, {}, PROGRAM, VARIABLE).source(), nl=False)
