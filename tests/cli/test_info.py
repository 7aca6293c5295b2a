"""`cifar-edge info`: what it finds, in whatever state that is."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_helpers import heavy_imports_of
from click.testing import CliRunner
from tiny import TINY

from cifar_edge import __version__
from cifar_edge.cli.installation import fits
from cifar_edge.cli.main import main
from cifar_edge.files import released
from cifar_edge.measure.processor import int8_instructions, int8_verdict

EPYC = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx avx2 avx512f avx_vnni avx512_vnni\n"
HASWELL = "model name\t: Intel(R) Core(TM) i5-4590\nflags\t\t: fpu sse4_2 avx avx2\nvmx flags\t: avx512_vnni\n"
OLD = "flags\t\t: fpu sse2\n"
PI_5 = "processor\t: 0\nFeatures\t: fp asimd aes crc32 asimddp\nCPU part\t: 0xd0b\n"
PI_4 = "processor\t: 0\nFeatures\t: fp asimd crc32\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def info(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["info", *arguments])
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def record() -> dict[str, Any]:
    said: dict[str, Any] = json.loads(info("--json"))
    return said


def exported_run(name: str, created: str) -> Path:
    folder = Path("runs") / name / "export"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"created": created}))
    return Path(shutil.copy(TINY, folder / "tiny.int8.onnx"))


@pytest.mark.parametrize(
    ("cpuinfo", "expected", "verdict"),
    [
        (EPYC, {"AVX2": True, "AVX-512 VNNI": True, "AVX-VNNI": True}, "int8 runs on VNNI"),
        (HASWELL, {"AVX2": True, "AVX-512 VNNI": False, "AVX-VNNI": False}, "without VNNI"),
        (OLD, {"AVX2": False, "AVX-512 VNNI": False, "AVX-VNNI": False}, "without AVX2"),
        (PI_5, {"dotprod": True, "i8mm": False}, "int8 runs in dot products"),
        (PI_4, {"dotprod": False, "i8mm": False}, "int8 runs without dot products"),
        ("", None, "int8 or fp32?"),
        ("isa\t\t: rv64imafdc\n", None, "int8 or fp32?"),
    ],
)
def test_what_a_processor_has_for_int8(cpuinfo: str, expected: dict[str, bool] | None, verdict: str) -> None:
    assert int8_instructions(cpuinfo) == expected
    assert int8_verdict(expected).startswith(verdict)


def test_it_tells_which_model_predict_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    assert record()["predict"] == {
        "model": str(released("export/gn-cnn/gn-cnn.int8.onnx")),
        "why": "released; $CIFAR_EDGE_MODEL is not set, and there is no export under ./runs",
        "error": None,
    }
    exported_run("old", "2026-03-01T11:00:00Z")
    newest = exported_run("new", "2026-03-02T11:00:00Z")
    said = record()
    assert said["predict"]["model"] == str(newest)
    assert said["predict"]["why"] == "newest export under runs; $CIFAR_EDGE_MODEL is not set"
    assert said["runs"] == {"path": str(Path("runs").absolute()), "states": {}, "exported": ["new", "old"]}
    summary = {"created": "2026-03-01T10:00:00Z", "epochs": 1, "test_accuracy": 0.5, "model": "gn-cnn"}
    Path("runs/old/summary.json").write_text(json.dumps(summary))
    assert record()["runs"]["states"] == {"old": "finished"}
    assert "runs            1 finished, 2 exported, in" in info()
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "gn-cnn.fp32")
    assert record()["predict"]["model"].endswith("gn-cnn.fp32.onnx")
    assert record()["predict"]["why"] == "$CIFAR_EDGE_MODEL is 'gn-cnn.fp32'"


def test_it_finds_what_is_here() -> None:
    said = record()
    assert said["version"] == __version__
    assert said["models"]["gn-cnn"] == ["gn-cnn.fp32.onnx", "gn-cnn.int8.onnx"]
    assert all(said["packages"].values())
    assert said["cache"] == {"path": str(Path("cache/cifar-edge").absolute()), "bytes": 0}
    assert said["data"] == {"path": str(Path("cache/cifar-edge/cifar10.npz").absolute()), "there": False}
    Path("cache/cifar-edge").mkdir(parents=True)
    Path("cache/cifar-edge/cifar10.npz").write_bytes(b"12345")
    assert (record()["cache"]["bytes"], record()["data"]["there"]) == (5, True)


def test_nothing_that_is_missing_or_broken_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("runs").write_text("a file")
    Path("cache").write_text("a file")
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "nonsense")
    monkeypatch.setenv("CIFAR_EDGE_DATA", "~nobody-of-this-name/data")
    said = record()
    assert said["predict"]["model"] is None
    assert said["predict"]["error"].startswith(
        "$CIFAR_EDGE_MODEL: no file, run, folder or released model is called 'nonsense'"
    )
    assert said["data"] == {"path": "~nobody-of-this-name/data", "there": False}
    assert "runs            none, in" in info()
    assert "predict takes   $CIFAR_EDGE_MODEL: no file, run, folder or released model is" in info()


def test_a_user_may_have_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*arguments: object, **options: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.setattr("cifar_edge.data.cache.user_cache_path", homeless)
    assert record()["data"] == {"path": "the cache", "there": False}
    assert "cache           this user has no home folder for the cache; set HOME or\n" in info()


def test_the_current_folder_may_be_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deleted").mkdir()
    monkeypatch.chdir(tmp_path / "deleted")
    (tmp_path / "deleted").rmdir()
    assert record()["runs"] == {"path": "runs", "states": {}, "exported": []}
    assert record()["predict"]["error"] is None


def test_missing_packages_are_said_with_their_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def version(name: str) -> str:
        if name == "torch":
            raise metadata.PackageNotFoundError
        return "1.0"

    declared = ['torch>=2.14; extra == "train"', "onnx>=1.18 ; extra == 'train'", "numpy>=1.26", 'x; extra == "dev"']
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: [*declared, 'pyarrow>=15; extra == "hub"'])
    assert record()["extras"] == {"train": {"torch": None, "onnx": "1.0"}, "hub": {"pyarrow": "1.0"}}
    assert "  [train]       missing torch: pip install 'cifar-edge[train]'\n  [hub]         pyarrow 1.0\n" in info()


@pytest.mark.parametrize(
    ("version", "clauses", "fit"),
    [
        ("2.14.1", ">=2.14", True),
        ("2.9.0", ">=2.14", False),
        ("1.21.3", ">=1.18.1,!=1.21.*", False),
        ("1.22", ">=1.18.1,!=1.21.*", True),
        ("2.14.1+cu130", "==2.14.1", True),
        ("2.14.1", "==2.14", False),
        ("4.3", "~=4.1", True),
        ("5.0", "~=4.1", False),
        ("unheard-of", ">=1", True),
    ],
)
def test_which_versions_fit(version: str, clauses: str, fit: bool) -> None:
    assert fits(version, clauses) is fit


def test_a_sound_installation_has_no_problems() -> None:
    assert record()["problems"] == []
    assert info().endswith("problems        none\n")


def test_what_is_wrong_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    versions = {"torch": "2.15.0", "torchvision": "0.29.1", "numpy": "1.20"}
    needed = {
        "cifar-edge": [
            "numpy>=1.26",
            'torch>=2.14; extra == "train"',
            'onnx; extra == "train"',
            'torchvision; extra == "train"',
            "onnxruntime>=1.18",
            'onnxruntime>=100; extra == "hub"',  # which is not installed
            'pyarrow>=15; extra == "hub"',
        ],
        "torchvision": ["numpy", "torch==2.14.1"],
    }

    def version(name: str) -> str:
        if name in {"onnx", "pyarrow"}:
            raise metadata.PackageNotFoundError
        return versions.get(name, "99")

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda name: needed.get(name))
    Path("cache").write_text("a file")
    monkeypatch.setenv("CIFAR_EDGE_DATA", "nowhere")
    found = {each["problem"]: each["mend"] for each in record()["problems"]}
    assert found == {
        "numpy 1.20 does not fit: cifar-edge needs numpy>=1.26": "pip install 'numpy>=1.26'",
        "onnx missing": "pip install 'cifar-edge[train]'",
        "torch 2.15.0 does not fit: torchvision 0.29.1 needs torch==2.14.1": "pip install 'torch==2.14.1'",
        f"the cache cannot be written: {Path('cache/cifar-edge').absolute()}": "mend the rights of that folder, or set "
        "XDG_CACHE_HOME",
        "$CIFAR_EDGE_DATA names no data: nowhere": "correct it, or unset CIFAR_EDGE_DATA",
    }
    assert "problem         onnx missing\n  mend it       pip install 'cifar-edge[train]'\n" in info()


@pytest.mark.parametrize(("columns", "width"), [("40", 40), ("80", 80), ("200", 80)])
def test_it_fits_a_terminal(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFAR_EDGE_MODEL", "gn-cnn")
    monkeypatch.setenv("COLUMNS", columns)
    lines = info().splitlines()
    assert all(len(line) <= width or len(line.split()) == 1 for line in lines)  # names and paths stay whole
    assert lines[0].startswith(f"cifar-edge      {__version__}, Python 3.")


def test_it_loads_no_model(tmp_path: Path) -> None:
    show = "from cifar_edge.cli.main import main; main(['info'], standalone_mode=False)"
    assert heavy_imports_of(show, tmp_path) <= {"numpy", "PIL"}
