"""What is said of a command that was written wrongly: what was given, and what to give."""

from pathlib import Path

import click
import pytest
from cli_helpers import COMMANDS
from click.testing import CliRunner

from cifar_edge.cli.main import main
from cifar_edge.runs.recipe import KEYS


def error_of(arguments: str) -> str:
    """The last line of a usage error; there is one line of error."""
    result = CliRunner().invoke(main, arguments.split())
    assert (result.exit_code, result.stdout) == (2, "")
    *usage, error = result.stderr.splitlines()
    assert all(line.startswith(("Usage: ", "Try ")) or not line for line in usage)
    return error.removeprefix("Error: ")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").touch()
    Path("odd\x1bname").touch()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --epochs x", "'x' is not a whole number of 1 or more."),
        ("train --epochs 0", "'0' is not a whole number of 1 or more."),
        ("train --epochs 1.5", "'1.5' is not a whole number of 1 or more."),
        ("serve --port 99999", "'99999' is not a whole number from 0 to 65535."),
        ("data --holdout 2", "'2' is not a share between 0 and 1, such as 0.2."),
        ("data --holdout nan", "'nan' is not a share between 0 and 1, such as 0.2."),
        ("train --size 33", "'33' is not a multiple of 16 from 32 to 128."),
        ("export --size x", "'x' is not a multiple of 16 from 32 to 128."),
        ("export --max-drop x", "'x' is not a number of percentage points of 0 or more."),
        ("export --max-drop inf", "'inf' is not a number of percentage points of 0 or more."),
        ("export --out file", "file is a file; give a folder."),
        ("web --out odd\x1bname", "'odd\\x1bname' is a file; give a folder."),
        ("export --other nowhere", "there is no folder nowhere."),
        ("train --preview folder", "folder is a folder; give a file."),
        ("predict --from-file nowhere", "there is no file nowhere."),
        ("verify-c folder", "folder is a folder; give a file."),
    ],
)
def test_a_wrong_value_is_told_with_what_to_give(arguments: str, message: str) -> None:
    assert error_of(arguments).startswith("Invalid value for '")
    assert error_of(arguments).endswith(f"': {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--hepl", "No such option '--hepl' (did you mean --help?)"),
        ("train --dta x", "No such option '--dta' (did you mean --data?)"),
        ("export --quantise", "No such option '--quantise' (did you mean --quantize?)"),
        ("export --quant", "No such option '--quant' (did you mean --quantize?)"),
        ("predict --quite", "No such option '--quite' (did you mean --quiet?)"),
        ("predict --gpu", "No such option '--gpu'."),
        ("predict --threads 4", "No such option '--threads'."),
        ("train --lr 0.1", "No such option '--lr'."),
        ("train -x", "No such option '-x'."),
        ("train --batch-size 3", "No such option '--batch-size'; it is a key of the recipe: --set batch_size=VALUE."),
        (
            "fold --fold-contrast 1",
            "No such option '--fold-contrast'; it is a key of the recipe: --set fold.contrast=VALUE.",
        ),
        ("-q info", "No such option '-q' before the command; write it after: main COMMAND -q."),
        ("trian", "No such command 'trian' (did you mean train?)"),
    ],
)
def test_an_option_that_does_not_exist_suggests_what_was_meant_and_nothing_else(arguments: str, message: str) -> None:
    assert error_of(arguments) == message


def test_without_a_command_the_help_is_shown() -> None:
    result = CliRunner().invoke(main, [])
    assert result.output == CliRunner().invoke(main, ["--help"]).output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_number_and_path_has_such_a_type(name: str) -> None:
    plain = (click.types.IntParamType, click.types.FloatParamType, click.IntRange, click.FloatRange)
    types = [parameter.type for parameter in main.commands[name].params if isinstance(parameter, click.Option)]
    assert not [each for each in types if type(each) in plain]
    assert not [each for each in types if type(each) is click.Path and not (each.file_okay and each.dir_okay)]


def test_an_unknown_key_of_a_recipe_is_one_short_line() -> None:
    result = CliRunner().invoke(main, ["train", "--set", "learning_rat=1"])
    (line,) = result.stderr.splitlines()
    assert "no key 'learning_rat' (did you mean learning_rate?)" in line
    assert sum(key in line for key in KEYS if len(key) > 4) <= 2
    assert len(line) < 160
