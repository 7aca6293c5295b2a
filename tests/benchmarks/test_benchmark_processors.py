"""The kernels for processors with AVX2 alone, run on one that has more: int8 files give the same logits."""

import subprocess
import sys

import pytest

from benchmarks.processors import avx2

pytestmark = pytest.mark.skipif(not avx2.is_possible(), reason="this machine cannot hide its instructions")

AS_AVX2 = (sys.executable, "-m", "benchmarks.processors.avx2")


def test_a_command_sees_avx2_alone_and_keeps_its_exit_code() -> None:
    asked = "import torch; has = torch.cpu.get_capabilities(); print(has['avx2'], has['avx512_vnni'], has['avx_vnni'])"
    seen = subprocess.run([*AS_AVX2, sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert seen.stdout == "True False False\n"
    assert subprocess.run([*AS_AVX2, sys.executable, "-c", "raise SystemExit(3)"]).returncode == 3


@pytest.mark.parametrize("model", ["gn-cnn", "gn-cnn-max", "gn-cnn-nano"])
def test_logits_of_released_files_are_the_same(model: str) -> None:
    compare = [sys.executable, "-m", "benchmarks.processors", "--model", model, "--data", "sample", "--images", "250"]
    done = subprocess.run([*compare, "--", *AS_AVX2, sys.executable], capture_output=True, text=True, check=True)
    assert "of 250 images 250 keep their class, 250 all their logits" in done.stdout


def test_c_compiled_for_avx2_gives_them_too() -> None:
    done = subprocess.run(
        [*AS_AVX2, sys.executable, "-m", "cifar_edge", "evaluate", "gn-cnn-nano", "--data", "sample", "--engine", "c"],
        capture_output=True,
        text=True,
        check=True,
    )
    plain = subprocess.run(
        [sys.executable, "-m", "cifar_edge", "evaluate", "gn-cnn-nano", "--data", "sample"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == plain.stdout
