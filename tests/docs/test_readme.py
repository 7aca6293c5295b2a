"""README: its commands work in a fresh checkout, as written."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import CHECKOUT

from cifar_edge.cli.main import main

README = (CHECKOUT / "README.md").read_text()
QUICK = {"train": ["--epochs", "1", "--fold-epochs", "1"]}
"""What makes a command quick; the rest of it stays as written."""


def commands() -> list[list[str]]:
    """What a reader would type, in its order."""
    return [shlex.split(line, comments=True) for line in re.findall(r"^\$ (.+)$", README, re.MULTILINE)]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: what git has of this one that commands name; the sample stands for CIFAR-10."""
    shutil.copytree(CHECKOUT / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFAR_EDGE_DATA", "sample")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_the_commands_work(checkout: Path) -> None:
    pytest.importorskip("torch")
    makefile = (CHECKOUT / "Makefile").read_text()
    extras = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    done = []
    for program, *arguments in commands():
        match program:
            case "cifar-edge":
                result = CliRunner().invoke(main, [*arguments, *QUICK.get(arguments[0], [])])
                assert result.exit_code == 0, f"{arguments}: {result.output}"
            case "python3":  # makes the environment
                subprocess.run([sys.executable, *arguments], check=True)
            case ".":  # enters it
                assert Path(arguments[0]).is_file()
            case "python":
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *sys.path])}
                subprocess.run([sys.executable, *arguments], env=environment, check=True)
            case "make":
                assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE)
            case "pip":
                assert arguments[0] == "install"
                assert all((CHECKOUT / name).is_file() for name in re.findall(r"\S+\.txt", " ".join(arguments)))
                assert set(re.findall(r"\[(\w+)\]", arguments[-1])) <= extras.keys()
            case _:
                pytest.fail(f"how is {program} tried?")
        done.append(program)
    assert done.count("cifar-edge") >= 4
    assert {path.name for path in checkout.iterdir()} == {".venv", "cache", "docs", "photos", "runs"}


def test_the_program_works(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("cat 0.9")
    assert said[-1] == "missing.png missing.png: no such file"


def section(title: str) -> str:
    return README.split(f"## {title}\n")[1].split("\n## ")[0]


def test_the_figures_of_the_models_are_those_of_their_exports() -> None:
    rows = [row for row in section("The models").splitlines() if "](models/" in row and row.startswith("|")]
    assert rows
    for row in rows:
        (name,) = re.findall(r"\[(.+?)\]", row)
        (report,) = re.findall(r"^\| int8 .*$", (CHECKOUT / "export" / name / "report.md").read_text(), re.MULTILINE)
        for figure in re.findall(r"[\d.]+%|[\d.]+ us", row):
            assert figure in report, f"{name}: {figure}"


def test_the_figures_beside_others_are_those_of_their_page() -> None:
    page = (CHECKOUT / "docs" / "peers.md").read_text().splitlines()
    rows = re.findall(r"^\| .*\| ([\d.]+%) \| ([\d.]+ us) \| ([\d.]+) \|$", section("Beside others"), re.MULTILINE)
    assert len(rows) >= 5
    for row in rows:
        assert any(all(f"| {figure} |" in line for figure in row) for line in page), row
