"""-q and -v, of every command: what is left out on stderr, and what is added."""

import json
from pathlib import Path

import click
import pytest
from cli_helpers import COMMANDS
from click.testing import CliRunner, Result
from conftest import CHECKOUT

from cifar_edge.cli.main import Commands, main
from cifar_edge.cli.train_progress import reporting
from cifar_edge.cli.verbosity import with_options
from cifar_edge.errors import ModelError
from cifar_edge.runs.epochs import EpochRecord

CAT = str(CHECKOUT / "docs" / "images" / "cat.png")
RECORD = EpochRecord("train", 1, 2.0, 0.1, 0.1, 0.1, 1.0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_both(name: str) -> None:
    options = [option for parameter in main.commands[name].params for option in parameter.opts]
    assert [options.count(option) for option in ("-q", "--quiet", "-v", "--verbose")] == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", CAT],
        ["predict", "--recursive", str(CHECKOUT / "docs"), "--top", "3"],
        ["predict", CAT, "--resume", "answers.csv"],
        ["web", "--out", "site"],
    ],
)
def test_quiet_leaves_out_notes_and_nothing_else(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path("page")
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    (page / "sw.js").write_text("// the worker")
    monkeypatch.setattr("cifar_edge.web.build.built_page", lambda report: report("building") or page)
    loud, quiet = run(*arguments), run(*arguments, "-q")
    assert loud.stderr.startswith("model: ")
    assert (loud.exit_code, quiet.exit_code, quiet.stderr) == (0, 0, "")
    assert quiet.stdout == loud.stdout


def test_quiet_keeps_errors() -> None:
    said = run("predict", "-q", "missing.png", CAT)
    assert (said.exit_code, said.stderr) == (1, "Error: missing.png: no such file\n")
    assert said.stdout.startswith("cat ")
    assert run("predict", "-q", "--model", "nonsense", CAT).stderr.startswith("Error: no file, run, folder")


def test_quiet_shows_no_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, expected in (([], 1), (["-q"], 0)):

        @click.command()
        def follow() -> None:
            with reporting("test", 1, 0, lambda: False) as watcher:
                watcher.epoch(RECORD, 1)

        said = CliRunner().invoke(with_options(follow), arguments)
        assert (said.exit_code, said.stderr.count("test ")) == (0, expected)


def test_verbose_tells_where_an_error_came_from() -> None:
    plain, verbose = run("predict", "--model", "nonsense", CAT), run("predict", "-v", "--model", "nonsense", CAT)
    assert (plain.exit_code, verbose.exit_code) == (1, 1)
    assert len(plain.stderr.splitlines()) == 1
    assert verbose.stderr.startswith("Traceback (most recent call last):\n")
    assert "resolve_model" in verbose.stderr
    assert verbose.stderr.endswith(plain.stderr)


def test_verbose_tells_what_the_decoder_said() -> None:
    Path("damaged.png").write_bytes(Path(CAT).read_bytes()[:300])
    said = run("predict", "-v", "--json", "damaged.png")
    assert "Traceback" in said.stderr
    assert "PIL" in said.stderr
    assert said.stderr.endswith(f"Error: {json.loads(said.stdout)[0]['error']}\n")


def test_one_call_leaves_nothing_to_the_next() -> None:
    group = Commands("group")

    @group.command()
    def fail() -> None:
        raise ModelError("wrong")

    with_options(fail)
    runner = CliRunner()
    assert "Traceback" in runner.invoke(group, ["fail", "-v"]).stderr
    assert runner.invoke(group, ["fail"]).stderr == "Error: wrong\n"
