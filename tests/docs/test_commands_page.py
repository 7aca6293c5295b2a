"""docs/commands.md is what the commands print; `python docs/write_commands.py` writes it."""

import write_commands
from cli_helpers import COMMANDS
from click.testing import CliRunner

from cifar_edge.cli.main import main


def test_the_page_is_what_the_commands_say() -> None:
    assert write_commands.PAGE.read_text() == write_commands.page(), "run: python docs/write_commands.py"


def test_it_has_every_command_with_all_it_prints() -> None:
    page = "".join(write_commands.PAGE.read_text().split())  # lines are longer there than on a terminal
    for name in COMMANDS:
        printed = CliRunner().invoke(main, [name, "--help"], prog_name="cifar-edge").stdout
        assert "".join(printed.split()) in page
