"""The command line as a whole: help, exit codes, what is imported. Each command's own tests lie with its part."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_helpers import COMMANDS, heavy_imports_of
from click.testing import CliRunner
from conftest import CHECKOUT, ENTRY_POINT, RunCommand

from cifar_edge import __version__, errors
from cifar_edge.cli.main import Commands, main

CAT = str(CHECKOUT / "docs" / "images" / "cat.png")
ERRORS = [value for value in vars(errors).values() if isinstance(value, type)]


def test_help_lists_every_command_with_a_line_of_help(cifar_edge: RunCommand) -> None:
    done = cifar_edge("--help")
    assert done.returncode == 0
    listed = done.stdout.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == COMMANDS
    assert all(len(line.split()) > 3 and not line.endswith("...") for line in listed)
    (of_train,) = [line for line in listed if line.split()[0] == "train"]
    assert "photographs of your own" in of_train


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_and_its_options(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {name}")
    command = main.commands[name]
    assert command.help
    undocumented = [option.opts for option in command.params if isinstance(option, click.Option) and not option.help]
    assert undocumented == []


@pytest.mark.parametrize(
    "arguments", [["info"], ["predict", "docs/images/cat.png"], ["data", "--data", "sample"], ["runs"]]
)
def test_no_command_depends_on_the_encoding_of_the_locale_or_warns(arguments: list[str]) -> None:
    strict = [sys.executable, "-X", "warn_default_encoding", "-W", "error", "-m", "cifar_edge"]
    done = subprocess.run([*strict, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(cifar_edge: RunCommand) -> None:
    assert cifar_edge("--version").stdout == f"cifar-edge {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["predcit"], "Error: No such command 'predcit' (did you mean predict?)\n"),
        (["nonsense"], "Error: No such command 'nonsense'\n"),
        (["predict", "--tpo", "3", "x.png"], "--top"),
        (["--verison"], "--version"),
        (["predict"], "Usage: cifar-edge predict"),
        (["summary"], "NAME"),
    ],
)
def test_wrong_usage_exits_with_2_and_a_hint(cifar_edge: RunCommand, arguments: list[str], hint: str) -> None:
    done = cifar_edge(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", ERRORS)
def test_an_error_ends_the_command_with_its_own_exit_code(error: type[errors.CifarEdgeError]) -> None:
    group = Commands("group")

    @group.command()
    def fail() -> None:
        raise error("what is wrong: mend it so")

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout, result.stderr) == (
        error.exit_code,
        "",
        "Error: what is wrong: mend it so\n",
    )


def test_an_error_of_the_operating_system_is_one_line(tmp_path: Path) -> None:
    group = Commands("group")

    @group.command()
    def fail() -> None:
        (tmp_path / "missing").read_bytes()

    result = CliRunner().invoke(group, ["fail"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: [Errno 2] No such file or directory: {str(tmp_path / 'missing')!r}\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [ENTRY_POINT, "summary", "s8-layer"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "closed", "status"),
    [
        (["predict", CAT], ">&-", 1),
        (["predict", CAT, "--jsonl"], ">&-", 1),
        (["predict", CAT, "--resume", "answers.jsonl"], ">&-", 0),
        (["data", "--data", "sample"], ">&-", 1),
        (["predict", CAT], "2>&-", 0),
        (["predict", CAT, "--resume", "answers.jsonl"], "2>&-", 0),
        (["evaluate", "gn-cnn", "--data", "sample"], "2>&-", 0),
        (["predict", CAT, "--json"], ">&- 2>&-", 1),
    ],
)
def test_a_closed_stream_stops_what_has_to_be_printed_there_and_no_more(
    arguments: list[str], closed: str, status: int, tmp_path: Path
) -> None:
    shell: list[str | Path] = ["sh", "-c", f'"$@" {closed}', "sh", ENTRY_POINT, *arguments]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == status
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("model: ", "answers.jsonl: "))]
    assert errors == (["Error: stdout is closed"] if status and "2" not in closed else [])
    assert bool(done.stdout) == (closed == "2>&-" and "--resume" not in arguments)
    if "--resume" in arguments:
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1


def test_what_the_encoding_of_stdout_lacks_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "\u732b.png").write_bytes(Path(CAT).read_bytes())
    command: list[str | Path] = [ENTRY_POINT, "predict", "--model", "gn-cnn", "\u732b.png", CAT]
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode("cp1252").splitlines()
    assert first.endswith("  \\u732b.png")
    assert second.endswith(str(CAT))


def test_help_and_import_load_nothing_heavy(tmp_path: Path) -> None:
    assert heavy_imports_of("import cifar_edge", tmp_path) == set()
    show_help = "from cifar_edge.cli.main import main; main(['--help'], standalone_mode=False)"
    assert heavy_imports_of(show_help, tmp_path) == set()


def test_predict_loads_the_base_install_only(tmp_path: Path, image_files: list[Path]) -> None:
    arguments = ["predict", str(image_files[0]), "--model", str(CHECKOUT / "tests" / "data" / "tiny.onnx")]
    classify = f"from cifar_edge.cli.main import main; main({arguments}, standalone_mode=False)"
    assert heavy_imports_of(classify, tmp_path) == {"numpy", "onnxruntime", "PIL"}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for arguments in ([], *([name] for name in COMMANDS)):
        main([*arguments, "--help"], prog_name="cifar-edge", standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > columns] == []
    assert max(map(len, lines)) > 0.9 * min(columns, 80)
