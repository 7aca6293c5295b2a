"""What is shipped: the wheel, the sdist and the editable install, each tried in an environment without torch."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import CHECKOUT

from cifar_edge import Classifier, __version__
from cifar_edge.cli.main import main
from cifar_edge.files import released
from cifar_edge.runs.run import FOLD_METRICS
from cifar_edge.web.build import built_page
from cifar_edge.web.site import write_site

pytestmark = pytest.mark.network

ZOO = ("models", "export")


def run(*command: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run ``command`` outside the checkout, and with no path into it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def succeed(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def build(*arguments: str | Path, out: Path) -> None:
    # The development extra brings the build back end: no second download of it.
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *arguments, cwd=out)


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def environment(folder: Path, *requirements: str | Path) -> Path:
    """The ``bin`` of a new virtual environment that holds ``requirements``."""
    venv.create(folder, with_pip=True)
    succeed(folder / "bin" / "pip", "install", "--disable-pip-version-check", *requirements, cwd=folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def sdist_and_wheel(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    build(CHECKOUT, out=out)
    return out / f"cifar_edge-{__version__}.tar.gz", out / f"cifar_edge-{__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def from_wheel(sdist_and_wheel: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("wheel") / "venv", sdist_and_wheel[1])


def assert_predicts_as_here(bin_folder: Path, image_files: list[Path], cwd: Path) -> None:
    """The installed command gives the images the classes that this very checkout gives them, without torch."""
    assert run(bin_folder / "python", "-c", "import torch", cwd=cwd).returncode != 0
    records = json.loads(succeed(bin_folder / "cifar-edge", "predict", "--json", *image_files, cwd=cwd))
    classifier = Classifier("gn-cnn")
    assert [record["label"] for record in records] == [classifier.predict(image).label for image in image_files]


def test_only_cifar_edge_is_installed(sdist_and_wheel: tuple[Path, Path]) -> None:
    names = contents(sdist_and_wheel[1])
    assert {name.partition("/")[0] for name in names} == {"cifar_edge", f"cifar_edge-{__version__}.dist-info"}


def left_out(name: str) -> bool:
    """Whether a wheel lacks a file of the zoo: reference networks, fp32, norms but the default's, what cards name."""
    folder, _, file = name.rpartition("/")
    earlier = {"first.toml", "second.toml", "third.toml", "fourth.toml"}
    card = folder.startswith("models") and file in {"README.md", "trainings.json", FOLD_METRICS, *earlier}
    norms = file == "model.safetensors" and folder != "models/gn-cnn"
    return "/s8-" in name or name.endswith(".fp32.onnx") or card or norms


def test_the_zoo_of_the_wheel_is_that_of_the_checkout_but_for_what_benchmarks_need(
    sdist_and_wheel: tuple[Path, Path],
) -> None:
    shipped = {
        name.removeprefix("cifar_edge/_zoo/"): content
        for name, content in contents(sdist_and_wheel[1]).items()
        if name.startswith("cifar_edge/_zoo/")
    }
    here = {
        file.relative_to(CHECKOUT).as_posix(): file.read_bytes()
        for folder in ZOO
        for file in (CHECKOUT / folder).rglob("*")
        if file.is_file() and file.name != "report.html"
    }
    assert shipped == {name: content for name, content in here.items() if not left_out(name)}
    assert "export/gn-cnn/gn-cnn.int8.onnx" in shipped


def test_the_wheel_is_small(sdist_and_wheel: tuple[Path, Path]) -> None:
    """The models need 0.8 MB of it, the sample 0.6; without the page, which `make wheel` adds."""
    assert sdist_and_wheel[1].stat().st_size < 2_000_000


def test_the_sample_of_the_wheel_has_all_test_images_and_a_fifth_of_the_others(
    from_wheel: Path, tmp_path: Path
) -> None:
    said = succeed(from_wheel / "cifar-edge", "data", "--data", "sample", cwd=tmp_path)
    assert said.startswith("cifar10-sample: 100 training and 250 test images, 32x32 RGB\n")
    evaluated = json.loads(
        succeed(from_wheel / "cifar-edge", "evaluate", "gn-cnn", "--data", "sample", "--json", cwd=tmp_path)
    )
    here = CliRunner().invoke(main, ["evaluate", "gn-cnn", "--data", "sample", "--json"])
    assert evaluated["accuracy"] == json.loads(here.stdout)["accuracy"]


def test_what_a_wheel_lacks_is_said(from_wheel: Path, tmp_path: Path) -> None:
    for model, said in {
        "s8-group": "s8-group is not in this wheel, which has no reference networks; ",
        "s8-group.int8": "s8-group is not in this wheel, which has no reference networks; ",
        "gn-cnn.fp32": "gn-cnn.fp32 is not in this wheel, which has the int8 file only; ",
    }.items():
        done = run(from_wheel / "cifar-edge", "evaluate", model, "--data", "sample", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"Error: {said}")


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_checkout(
    sdist_and_wheel: tuple[Path, Path], tmp_path: Path
) -> None:
    build("--wheel", CHECKOUT, out=tmp_path)
    assert contents(tmp_path / sdist_and_wheel[1].name) == contents(sdist_and_wheel[1])


def test_the_sdist_holds_no_runs_but_the_kept_and_no_environment(sdist_and_wheel: tuple[Path, Path]) -> None:
    with tarfile.open(sdist_and_wheel[0]) as archive:
        names = [name.split("/")[1:] for name in archive.getnames()]
    top = {name[0] for name in names}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "cifar_edge", "tests", *ZOO} <= top
    assert top.isdisjoint({"dist", ".venv", ".git"})
    kept = {path.name for path in (CHECKOUT / "runs" / "keep").iterdir()}
    assert {(name[1], name[2]) for name in names if name[0] == "runs"} == {("keep", run) for run in kept}


def test_the_wheel_predicts_without_torch(from_wheel: Path, image_files: list[Path], tmp_path: Path) -> None:
    assert_predicts_as_here(from_wheel, image_files, tmp_path)


def test_the_wheel_brings_its_types(from_wheel: Path, tmp_path: Path) -> None:
    """Without py.typed mypy would take everything for Any."""
    program = tmp_path / "program.py"
    program.write_text("from cifar_edge import Classifier\nreveal_type(Classifier().predict('a.png').label)\n")
    checked = succeed(
        sys.executable, "-m", "mypy", "--strict", "--python-executable", from_wheel / "python", program, cwd=tmp_path
    )
    assert re.search(r'Revealed type is "(builtins\.)?str"', checked)


@pytest.mark.parametrize("command", [["train"], ["export"], ["summary", "gn-cnn", "--size", "64"]])
def test_a_command_that_needs_torch_says_what_to_install(from_wheel: Path, command: list[str], tmp_path: Path) -> None:
    done = run(from_wheel / "cifar-edge", *command, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: .*; pip install 'cifar-edge\[train\]'\n", done.stderr)


def test_the_wheel_shows_the_integers_without_torch(from_wheel: Path, tmp_path: Path) -> None:
    shown = json.loads(succeed(from_wheel / "cifar-edge", "summary", "gn-cnn", "--json", cwd=tmp_path))
    assert (shown["model"], shown["macs"]) == ("gn-cnn", 5_026_912)


def test_the_wheel_writes_c_without_torch(from_wheel: Path, tmp_path: Path) -> None:
    """It is compiled there, and compared with the int8 file."""
    said = succeed(from_wheel / "cifar-edge", "export", "gn-cnn", "--quantize", "--target", "c", cwd=tmp_path)
    assert said == "c passed: in C gn-cnn.c/ gives the logits of int8, bit for bit, on 350 images\n"
    assert len(list(tmp_path.glob("runs/*-gn-cnn/export/gn-cnn.c/gn_cnn.h"))) == 1


def test_the_wheel_tells_what_is_missing(from_wheel: Path, tmp_path: Path) -> None:
    record = json.loads(succeed(from_wheel / "cifar-edge", "info", "--json", cwd=tmp_path))
    assert record["extras"]["train"]["torch"] is None
    assert None not in record["packages"].values()


def test_the_wheel_writes_the_web_page(from_wheel: Path, tmp_path: Path) -> None:
    """Without a built page in it, the wheel builds it of the sources that it carries: those of this checkout."""
    record = json.loads(succeed(from_wheel / "cifar-edge", "web", "--json", "--out", tmp_path / "site", cwd=tmp_path))
    models = [released(f"export/{name}/{name}.int8.onnx") for name in ("gn-cnn", "gn-cnn-max", "gn-cnn-nano")]
    write_site(built_page(print), models, tmp_path / "here")
    assert record["files"] == {path.name: path.stat().st_size for path in (tmp_path / "here").iterdir()}
    for name in record["files"]:
        assert (tmp_path / "site" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()


def test_a_wheel_with_the_page_built_needs_no_npm(sdist_and_wheel: tuple[Path, Path], tmp_path: Path) -> None:
    """As `make wheel` makes it; a stand-in for the page is enough."""
    with tarfile.open(sdist_and_wheel[0]) as archive:
        # Python 3.11.2, Debian 12's, knows no filters; this it leaves alone, as Python's documentation has it.
        archive.extraction_filter = getattr(tarfile, "data_filter", None)
        archive.extractall(tmp_path)
    (sources,) = tmp_path.iterdir()
    page = sources / "cifar_edge" / "_page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    (page / "sw.js").write_text("// the worker")
    build(sources, out=tmp_path)  # the sdist carries the page too, for the wheel is built from it
    with zipfile.ZipFile(tmp_path / sdist_and_wheel[1].name) as archive:
        archive.extractall(tmp_path / "installed")
    program = "from cifar_edge.cli.main import main; main(['web', 'gn-cnn', '--out', 'site'])"
    variables = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "PATH": "", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").read_text() == "<!doctype html>"


def test_an_editable_install_predicts_from_the_checkout(image_files: list[Path], tmp_path: Path) -> None:
    bin_folder = environment(tmp_path / "venv", "--editable", CHECKOUT)
    where = "from cifar_edge.files import released; print(released('export/gn-cnn'))"
    assert succeed(bin_folder / "python", "-c", where, cwd=tmp_path).strip() == str(CHECKOUT / "export" / "gn-cnn")
    assert_predicts_as_here(bin_folder, image_files, tmp_path)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lower bounds have wheels for Python 3.11")
def test_the_lower_bounds_are_enough_to_predict(
    sdist_and_wheel: tuple[Path, Path], image_files: list[Path], tmp_path: Path
) -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    lowest = [requirement.replace(">=", "==") for requirement in project["dependencies"]]
    assert_predicts_as_here(environment(tmp_path / "venv", sdist_and_wheel[1], *lowest), image_files, tmp_path)
