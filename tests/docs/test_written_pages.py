"""The pages that are written from the code: docs/commands.md and docs/recipe.md."""

import write_commands
import write_recipe
from cli_helpers import COMMANDS
from click.testing import CliRunner

from cifar_edge.cli.main import main
from cifar_edge.models import default_recipe


def test_the_page_is_what_the_commands_say() -> None:
    assert write_commands.PAGE.read_text() == write_commands.page(), "run: python docs/write_commands.py"


def test_it_has_every_command_with_all_it_prints() -> None:
    page = "".join(write_commands.PAGE.read_text().split())  # lines are longer there than on a terminal
    for name in COMMANDS:
        printed = CliRunner().invoke(main, [name, "--help"], prog_name="cifar-edge").stdout
        assert "".join(printed.split()) in page


def test_the_page_of_a_recipe_is_what_its_docstrings_say() -> None:
    page = write_recipe.PAGE.read_text()
    assert page == write_recipe.page(), "run: python docs/write_recipe.py"
    assert all(f"| `{key}` |" in page for key in default_recipe("gn-cnn").settings)
