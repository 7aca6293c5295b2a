"""What help texts and pages say, against the code: examples parse, environment variables are all documented."""

import re
import shlex
from pathlib import Path

import click
import pytest
from conftest import CHECKOUT

from cifar_edge.cli.dependencies import needs
from cifar_edge.cli.main import main
from cifar_edge.cli.value_types import File, Folder
from cifar_edge.errors import MissingExtra

PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "docs" / "demo.sh"]
OPERATORS = {"|", "||", "&", "&&", ";", ">", ">>", "<"}


def examples_in_help(name: str) -> list[str]:
    return re.findall(r"^ *Example: (.+)$", main.commands[name].help or "", re.MULTILINE)


def examples_in(page: Path) -> list[str]:
    """Lines that a reader would type: in a block, after a prompt or `run`, or alone between backticks."""
    text = page.read_text()
    lines = re.findall(r"^(?:\S*\$ |run |    )(cifar-edge .+)$", text, re.MULTILINE)
    return lines + [code.replace("\\|", "|") for code in re.findall(r"`([^`\n]*\bcifar-edge [^`\n]+)`", text)]


def calls(line: str) -> list[list[str]]:
    """The arguments of each `cifar-edge` in a shell's command line."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    words.whitespace_split = True
    found: list[list[str]] = []
    inside = False
    for word in words:
        if word in OPERATORS:
            inside = False
        elif word == "cifar-edge":
            inside = True
            found.append([])
        elif inside:
            found[-1].append(word)
    return found


def parse(arguments: list[str]) -> None:
    """Parse as the command would, and run nothing.

    Raises:
        click.UsageError: it is wrong usage.
    """
    name, *rest = arguments
    context = click.Context(main, info_name="cifar-edge", **main.context_settings)
    command: click.Command = main
    if name.startswith("-"):
        rest = arguments
    else:
        _, found, _ = main.resolve_command(context, [name])
        assert found is not None
        command = found
    try:
        command.make_context(name, rest, parent=context)
    except click.exceptions.Exit as end:  # --help, --version
        assert end.exit_code == 0


@pytest.fixture(autouse=True)
def _no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of examples need not exist."""
    for kind in (click.Path, File, Folder):
        monkeypatch.setattr(kind, "convert", lambda self, value, parameter, context: self.coerce_path_result(value))


@pytest.mark.parametrize("name", main.commands)
def test_every_help_has_an_example_of_its_command_that_parses(name: str) -> None:
    examples = examples_in_help(name)
    assert examples
    for example in examples:
        assert any(arguments[0] == name for arguments in calls(example))
        for arguments in calls(example):
            parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_examples_of_pages_parse(page: Path) -> None:
    for line in examples_in(page):
        for arguments in calls(line):
            if arguments in (["COMMAND", "--help"], []):
                continue
            if len(arguments) == 1:  # a command that is mentioned
                assert arguments[0] in main.commands or arguments[0].startswith("-"), line
                continue
            try:
                parse(arguments)
            except click.UsageError as error:
                pytest.fail(f"{line}: {error.format_message()}")


def test_examples_are_found() -> None:
    found = [line for page in PAGES for line in examples_in(page)]
    assert len(found) > 30
    assert any(line.startswith("cifar-edge export --quantize") for line in found)


def test_a_wrong_example_would_be_noticed() -> None:
    for line in (
        "cifar-edge predcit x",
        "cifar-edge predict --tpo 3 x",
        "cifar-edge summary",
        "cifar-edge data --holdout 2",
    ):
        with pytest.raises(click.UsageError):
            parse(calls(line)[0])
    assert calls("find . | cifar-edge predict - && cifar-edge info; true") == [["predict", "-"], ["info"]]


def test_every_environment_variable_is_documented_and_no_other() -> None:
    named: set[str] = set()
    for file in (CHECKOUT / "cifar_edge").rglob("*.py"):
        named |= set(re.findall(r"(?<!\w)_?CIFAR_EDGE_[A-Z]+", file.read_text()))
    documented = re.findall(r"(?<!\w)_?CIFAR_EDGE_[A-Z]+", (CHECKOUT / "docs" / "environment.md").read_text())
    assert named == set(documented) - {"_CIFAR_EDGE_COMPLETE"}  # click makes that one of the command's name
    assert "CIFAR_EDGE_MODEL" in named


def test_the_check_on_a_device_expects_what_the_card_says() -> None:
    (said,) = re.findall(r"the released int8 gn-cnn on (\d+)\)", (CHECKOUT / "docs" / "deploy.md").read_text())
    (card,) = re.findall(r"the embedded sample[^:]*?(\d+) \(int8\)", (CHECKOUT / "models/gn-cnn/README.md").read_text())
    assert said == card


def test_the_readme_installs_an_extra_as_a_command_that_lacks_it_advises() -> None:
    with pytest.raises(MissingExtra) as caught, needs("train"):
        raise ImportError("No module named 'torch'")
    assert f"`{str(caught.value).rpartition('; ')[2]}`" in (CHECKOUT / "README.md").read_text()
