"""The C of docs/microcontrollers.md compiles with the folder that `export --target c` writes."""

import re
import subprocess
from pathlib import Path

import pytest
from c_helpers import ABOUT
from conftest import CHECKOUT

from cifar_edge.c import COptions, gate, write
from cifar_edge.files import released
from cifar_edge.integer import IntegerNetwork


@pytest.mark.skipif(gate.compiler() is None, reason="needs a C compiler")
def test_the_code_for_a_camera_compiles(tmp_path: Path) -> None:
    network = IntegerNetwork.from_onnx(released("export/gn-cnn/gn-cnn.int8.onnx"))
    for name, content in write(network, ABOUT, COptions()).items():
        (tmp_path / Path(name).name).write_bytes(content)
    (code,) = re.findall(r"```c\n(.*?)```", (CHECKOUT / "docs" / "microcontrollers.md").read_text(), re.DOTALL)
    (tmp_path / "classify.c").write_text(code)
    command = gate.compiler()
    assert command is not None
    options = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-c"]
    subprocess.run([*command, *options, "classify.c", "-o", "classify.o"], cwd=tmp_path, check=True)
