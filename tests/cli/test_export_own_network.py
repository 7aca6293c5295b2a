"""`cifar-edge export --network`: a network that a Python file of the user builds."""

import json
import re
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from torch import nn

from cifar_edge.cli.main import main
from cifar_edge.cli.own_network import build, load_weights
from cifar_edge.runtime.model import load

FILE = """
from torch import nn
from widths import WIDTH


def build():
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, 2, 1),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTH, 10),
    )


def wrong():
    return 3


def fails():
    return undefined_name


def forgets():
    build()


def three():
    network = build()
    network[5] = nn.Linear(WIDTH, 3)
    return network


ready = build()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)
    (tmp_path / "widths.py").write_text("WIDTH = 12\n")
    return tmp_path


def load_own(network: str, weights: Path) -> nn.Module:
    _, made = build(network)
    load_weights(made, weights)
    return made


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["export", "--data", "sample", *map(str, arguments)])


def test_a_network_of_a_file_is_exported(folder: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    )
    save_file(network.state_dict(), folder / "w.safetensors")
    first = export("--network", "mine.py:build", "--quantize", "--target", "c", "--out", "out")
    assert first.exit_code == 0, first.stderr
    assert (
        "exporting mine.py to out: mean 128 (the default), std 64 (the default), the weights that build returned; "
        "judged by 250 test images of cifar10-sample"
    ) in first.stderr
    assert "folding is not exact" not in first.stderr
    assert (folder / "out" / "mine.c").is_dir()
    given = ("--network", "mine.py:build", "--weights", "w.safetensors", "--quantize", "--debug")
    result = export(*given, "--mean", "124,116,104", "--std", "60", "--finetune", "1", "--out", "out", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["folder"] == "out"
    assert load(folder / "out" / "mine.int8.onnx").metadata.labels[0] == "airplane"
    assert "signal-to-noise" in result.stderr
    assert "to out: mean 124,116,104, std 60, weights of w.safetensors; judged by" in result.stderr
    assert "gates; that removes mine.c, which --target c would write anew" in result.stderr
    assert "fine-tuning for 1 epoch\n" in result.stderr
    assert not (folder / "out" / "mine.c").exists()


def test_padding_that_is_not_exact_is_named(folder: Path) -> None:
    arguments = ("--network", "mine.py:build", "--mean", "124,116,104", "--std", "60", "--quantize", "--max-drop", "99")
    result = export(*arguments, "--out", "out")
    assert result.exit_code == 0, result.stderr
    assert (
        "folding is not exact: zeros around the image stand for the mean, and the nearest pixel, 115" in result.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--network", "none.py:build"], "there is no file none.py"),
        (["--network", "mine.py:other"], "has no function other"),
        (["--network", "mine.py:wrong"], "returns an int, not a torch.nn.Module"),
        (["--network", "mine.py:forgets"], "returns nothing, not a torch.nn.Module; end it with `return network`"),
        (["--network", "mine.py:three", "--finetune", "1"], "labels are 10 names .* but the network has 3 classes"),
        (["--network", "mine.py:fails"], "fails with NameError: name 'undefined_name'"),
        (["--network", "mine.py:build", "--weights", "none.safetensors"], "there is no file none.safetensors"),
        (["--network", "mine.py:build", "--weights", "mine.py"], "is not a safetensors file"),
        (["--network", "mine.py:build", "--size", "0"], "'0' is not a multiple of 16 from 32 to 128"),
        (["--network", "mine.py:build", "--size", "100000"], "is not a multiple of 16 from 32 to 128"),
        (["--network", "mine.py:build", "--mean", "grey"], "neither a number nor one for each channel"),
        (["--network", "mine.py:build", "--std", "0"], "std = .* is not positive"),
        (["--mean", "3"], "--mean is about a network of your own"),
    ],
)
def test_what_is_no_network_is_one_line(folder: Path, arguments: list[str], message: str) -> None:
    result = export("--quantize", "--out", folder / "out", *arguments)
    assert result.exit_code in (1, 2)
    assert len([line for line in result.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert re.search(message, result.stderr)
    assert not (folder / "out").exists()


LIKE_A_SCRIPT = """
from __future__ import annotations

import argparse
from dataclasses import dataclass

from torch import nn

print("at import")
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=12)
arguments = parser.parse_args()


@dataclass
class Settings:
    width: int


class Net(nn.Module):
    def __init__(self, settings):
        super().__init__()
        self.conv = nn.Conv2d(3, settings.width, 3, 2, 1)
        self.classifier = nn.Linear(settings.width, 10)

    def forward(self, x):
        print("in forward")
        return self.classifier(self.conv(x).relu().mean((2, 3)))


def build():
    print("in build")
    return Net(Settings(arguments.width))
"""


def test_a_file_may_be_written_as_a_script_and_print(folder: Path) -> None:
    (folder / "script.py").write_text(LIKE_A_SCRIPT)
    result = export("--network", "script.py:build", "--quantize", "--out", "out", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["folder"] == "out"
    assert all(line in result.stderr for line in ("at import", "in build", "in forward"))
    assert re.search("warning: .* is low .* check mean and std", result.stderr), "it is untrained"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(0)", "sys.exit(0)"),
        ("raise SystemExit", "sys.exit()"),
        ("import sys; sys.exit('no GPU')", "sys.exit('no GPU')"),
        ("def build(): exit(3)", "sys.exit(3)"),
        (LIKE_A_SCRIPT.replace("default=12", "required=True"), "sys.exit(2)"),
    ],
)
def test_a_file_that_ends_the_program_is_an_error(folder: Path, code: str, said: str) -> None:
    (folder / "script.py").write_text(code)
    result = export("--network", "script.py:build", "--quantize", "--out", "out")
    assert result.exit_code == 1
    assert f"Error: script.py ends with {said}" in result.stderr
    assert "cifar-edge" not in result.stderr
    assert not (folder / "out").exists()


def test_weights_of_a_wrapped_network_are_loaded_into_one_that_is_ready(folder: Path) -> None:
    torch.manual_seed(0)
    weights = {
        f"_orig_mod.module.{place}.{name}": torch.rand(shape)
        for place, name, shape in [
            ("0", "weight", (12, 3, 3, 3)),
            ("0", "bias", (12,)),
            *(("1", name, (12,)) for name in ("weight", "bias", "running_mean", "running_var")),
            ("5", "weight", (10, 12)),
            ("5", "bias", (10,)),
        ]
    }
    weights["_orig_mod.module.1.num_batches_tracked"] = torch.tensor(1)
    save_file(weights, folder / "w.safetensors")
    network = load_own("mine.py:ready", folder / "w.safetensors")
    assert torch.equal(network.state_dict()["5.bias"], weights["_orig_mod.module.5.bias"])


def test_a_folder_of_c_is_no_model_and_the_error_names_one(folder: Path) -> None:
    (folder / "out" / "mine.c").mkdir(parents=True)
    arguments = ["predict", "--model", "out/mine.c", "photo.png"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "out/mine.c is C, for a compiler; give an .onnx or .tflite file" in result.stderr
    (folder / "out" / "mine.int8.onnx").touch()
    assert "file, such as out/mine.int8.onnx" in CliRunner().invoke(main, arguments).stderr
