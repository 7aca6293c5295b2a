"""`cifar-edge verify-c`: what a board printed is the model's, or the command says what differs."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from c_helpers import ABOUT
from click.testing import CliRunner, Result

from cifar_edge.c import COptions, gate
from cifar_edge.cli.main import main
from cifar_edge.export.targets import TARGETS
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork
from cifar_edge.model_file.reading import read_graph

INT8 = released("export/gn-cnn/gn-cnn.int8.onnx")
pytestmark = pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")


def verify(log: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["verify-c", "-", "--model", str(INT8), *options], input=log)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the self-test of gn-cnn prints."""
    folder = tmp_path_factory.mktemp("board")
    _, metadata = read_graph(INT8)
    for name, content in TARGETS["c"].write(IntegerNetwork.from_onnx(INT8), metadata, COptions("generic")).items():
        (folder / Path(name).name).write_bytes(content)
    subprocess.run([*(gate.compiler() or []), "-O1", "-o", "selftest", "selftest.c"], cwd=folder, check=True)
    return subprocess.run([folder / "selftest"], capture_output=True, text=True, check=True).stdout


def test_the_models_own_logits(printed: str) -> None:
    result = verify(printed)
    assert result.exit_code == 0, result.stderr
    assert re.match(r"ok: the board computes gn-cnn.int8@\w{12}, every logit of 10 images", result.stdout)
    record = json.loads(verify(printed, "--json").stdout)
    assert (record["model"], record["images"]) == (ABOUT.identity[:12] + record["model"][12:], 10)


def test_a_self_test_of_one_image(printed: str) -> None:
    one = "".join(line for line in printed.splitlines(keepends=True) if not re.match(r"image [1-9]\b", line))
    result = verify(one)
    assert result.exit_code == 0, result.stderr
    assert "every logit of 1 image\n" in result.stdout
    assert json.loads(verify(one, "--json").stdout)["images"] == 1


def test_a_log_that_is_cut_off(printed: str) -> None:
    lines = printed.splitlines(keepends=True)
    end = verify("".join(lines[:5]))
    assert end.exit_code == 1
    assert "stdin ends early: image 3 is not followed by ok or failed" in end.stderr
    assert verify("".join([*lines[:5], "wifi ok, 3 networks\n"])).exit_code == 1
    begin = verify("".join(lines[4:]))
    assert begin.exit_code == 1
    assert "stdin has no logits of image 0, 1, 2; give all that was printed" in begin.stderr


def test_a_serial_log(printed: str, tmp_path: Path) -> None:
    """A boot message, time stamps, colours and carriage returns, and the test twice."""
    lines = [f"\x1b[0;32mI (31{i}) main: {line}\x1b[0m\r\n" for i, line in enumerate(printed.splitlines())]
    log = "".join(["ets Jul 29 2019 12:21:46\r\n", *lines])
    assert verify(log + log).exit_code == 0
    (tmp_path / "log").write_text(log, "utf-16")  # as PowerShell writes it
    assert CliRunner().invoke(main, ["verify-c", str(tmp_path / "log"), "--model", str(INT8)]).exit_code == 0


def test_what_differs_is_named(printed: str) -> None:
    wrong = re.sub(
        r"^(image 3: -?)(\d)(.*)$", r"\g<1>9\g<2>\g<3>\nimage 3 differs, first in layer Conv-4", printed, flags=re.M
    )
    for log in (wrong, printed + wrong):
        result = verify(log)
        assert result.exit_code == 3
        assert "1 of 10 images have other logits (image 3); the first layer that differs is Conv-4" in result.stderr


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ("", "stdin is empty; what the board prints has to go into it"),
        ("nothing of it\n", "has no line of the self-test"),
        (f"image {'9' * 5000}: {'1' * 5000}\n", "has no line of the self-test"),
        ("image 0: 1 2 3\n", "ends early: image 0 is not followed by ok or failed"),
        ("gn-cnn.int8@000000000000, 90 %\nimage 0: 1 2\n", "the board ran gn-cnn.int8@000000000000, and "),
    ],
)
def test_a_log_that_is_not_one(log: str, message: str) -> None:
    result = verify(log)
    assert result.exit_code == 1
    assert message in result.stderr


def test_a_log_of_another_model_than_the_one_named() -> None:
    result = verify("gn-cnn.int8@000000000000, 90 %\nimage 0: 1 2\n")
    assert result.exit_code == 1
    assert result.stderr.endswith("; they have to be of one export\n")
    assert "--model" not in result.stderr


def test_a_log_of_other_integers_of_the_same_weights(printed: str) -> None:
    """As of another version of cifar-edge, which rounds weights otherwise."""
    integers = IntegerNetwork.from_onnx(INT8).digest
    assert f", integers {integers}, " in printed
    result = verify(printed.replace(integers, "0" * 12))
    assert result.exit_code == 1
    assert "the board ran integers of another export of gn-cnn.int8@" in result.stderr
    assert verify(printed.replace(f"integers {integers}, ", "")).exit_code == 0  # of an earlier version
