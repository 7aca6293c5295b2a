"""docs/own-network.md, followed to the letter: its two programs, and its command."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import CHECKOUT

from cifar_edge.cli.main import main

PAGE = (CHECKOUT / "docs" / "own-network.md").read_text()


def test_the_page_leads_to_a_folder_of_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, way, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (command,) = re.findall(r"^\$ cifar-edge (export .*)$", PAGE, re.MULTILINE)
    (tmp_path / "mine.py").write_text(train)
    (tmp_path / "way.py").write_text(way)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    runpy.run_path("mine.py", run_name="__main__")
    runpy.run_path("way.py")
    by_program = {file.name for file in Path("out").iterdir()}
    assert by_program >= {"mine.c", "mine.fp32.onnx", "mine.int8.onnx", "mine.int8.tflite", "report.md"}
    given = json.loads(Path("out", "report.json").read_text())["own"]
    assert 0.25 < given["accuracy"]["value"] < 0.4, "as the page says"
    assert given["warning"] is None
    code = {file.name: file.read_bytes() for file in Path("out", "mine.c").iterdir() if file.suffix == ".c"}
    result = CliRunner().invoke(main, [*shlex.split(command)[:-1], "again"])
    assert result.exit_code == 0, result.stderr
    assert code == {name: Path("again", "mine.c", name).read_bytes() for name in code}
