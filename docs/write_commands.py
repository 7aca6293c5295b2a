"""Write commands.md beside this file: what `cifar-edge --help` and `cifar-edge COMMAND --help` print.

A test holds the page equal to the commands. After a change of an option: python docs/write_commands.py
"""

from pathlib import Path

import click

from cifar_edge.cli.main import main

PAGE = Path(__file__).parent / "commands.md"
WIDTH = 100
BEGINNING = """\
# Commands

Every command with its options: what `cifar-edge --help` and `cifar-edge COMMAND --help` print. This page is written by
`python docs/write_commands.py`: do not edit.

Results go to stdout, everything else to stderr. `--json` prints a result for programs, `-q` leaves out notes and
progress, `-v` adds the traceback to an error. The exit code is

| | |
|---|---|
| 0 | done |
| 1 | failed; of `predict`: an image could not be read |
| 2 | called wrongly |
| 3 | a gate failed: an export differs from the network, or a board from the model |
| 130, 143 | ended by Ctrl-C, by SIGTERM |

"""
END = """\
Next: [environment variables and completion](environment.md); the [Python API](api.md).
"""


def page() -> str:
    """The whole page."""
    root = click.Context(main, info_name="cifar-edge", **{**main.context_settings, "terminal_width": WIDTH})
    sections = [section("cifar-edge", main.get_help(root))]
    for name in main.list_commands(root):
        command = main.get_command(root, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
        sections.append(section(f"cifar-edge {name}", command.get_help(context)))
    return BEGINNING + "".join(sections) + END


def section(title: str, text: str) -> str:
    """A heading, and the help text as it is printed."""
    return f"## {title}\n\n```text\n{text}\n```\n\n"


if __name__ == "__main__":
    PAGE.write_text(page())
