import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ENTRY_POINT, RunCommand


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    arguments = ["train", "--data", "sample", "--epochs", "1", "--fold-epochs", "0", "--name", "plain"]
    subprocess.run([ENTRY_POINT, *arguments], cwd=folder, check=True)
    return folder / "runs" / "plain"


@pytest.fixture
def trained(plain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(plain, tmp_path / "runs" / "plain")


def test_train_fold_and_what_they_say(cifar_edge: RunCommand, trained: Path) -> None:
    assert not (trained / "deploy.safetensors").exists()
    done = cifar_edge("fold", trained, "--epochs", "1", "--json", "--set", "fold.contrast=0.5")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["fold_epochs"], summary["epochs"], summary["model"]) == (1, 1, "gn-cnn")
    assert 0 <= summary["folded_test_accuracy"] <= 1
    assert json.loads((trained / "summary.json").read_text())["folded_test_accuracy"] == summary["folded_test_accuracy"]
    assert (trained / "deploy.safetensors").is_file()
    recipe = (trained / "recipe.toml").read_text()
    assert all(line in recipe for line in ("[fold]\nepochs = 1\n", "\ncontrast = 0.5\n", "\ncontrast = 0.0\n"))
    assert (trained / "fold-metrics.csv").read_text().splitlines()[1].startswith("fold,1,")
    assert "fold 1/1" in " ".join(done.stderr.split())
    done = cifar_edge("fold", trained, "--epochs", "2", "--json", "--continue")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["fold_epochs"] == 3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("contrast=0.5", "folding takes fold.learning_rate"),
        ("fold.contrast=2", "not between 0.0 and 1.0"),
        ("fold_light=1", "recipes have no key"),
        ("fold.epochs=2", "give epochs with --epochs"),
    ],
)
def test_what_fold_cannot_set(cifar_edge: RunCommand, trained: Path, setting: str, message: str) -> None:
    before = (trained / "recipe.toml").read_bytes()
    done = cifar_edge("fold", trained, "--set", setting)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert (trained / "recipe.toml").read_bytes() == before
    assert not (trained / "deploy.safetensors").exists()


def test_without_a_name_the_run_is_named_by_time_and_network(cifar_edge: RunCommand, tmp_path: Path) -> None:
    done = cifar_edge("train", "--data", "sample", "--model", "s8-group", "--epochs", "1", "--set", "crop=2")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.endswith("-s8-group")
    assert "of 250 images" in done.stdout
    assert f"runs/{run.name}" in done.stdout
    assert "crop = 2\n" in (run / "recipe.toml").read_text()
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_without_data_the_first_line_says_what_it_trains_on(
    cifar_edge: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    first, *_ = cifar_edge("train", "--offline").stderr.splitlines()
    assert first == "training on CIFAR-10; for images of your own, a folder a class, give --data DIR"
    monkeypatch.setenv("CIFAR_EDGE_DATA", "sample")
    assert "--data DIR" not in cifar_edge("train", "--model", "s8-group", "--epochs", "1").stderr


def test_threads_that_wait_go_to_sleep(cifar_edge: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """GNU OpenMP tells its settings when torch is imported."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)  # commands that ran in this process have set it
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")
    settings = cifar_edge("train", "--recipe", "missing.toml").stderr
    if "GOMP_SPINCOUNT" not in settings:
        pytest.skip("torch has another OpenMP here")
    assert "GOMP_SPINCOUNT = '10000'" in settings
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert "GOMP_SPINCOUNT = '10000'" not in cifar_edge("train", "--recipe", "missing.toml").stderr


def test_a_saved_recipe_gives_the_same_weights(cifar_edge: RunCommand, trained: Path) -> None:
    done = cifar_edge("train", "--data", "sample", "--recipe", trained / "recipe.toml", "--name", "again")
    assert done.returncode == 0, done.stderr
    again = trained.parent / "again"
    assert (again / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["train", "--set", "epoch=1"], 2, "recipes have no key 'epoch'"),
        (["train", "--set", "learning_rate=fast"], 2, "is not a number"),
        (["train", "--model", "resnet-50"], 2, "no network is called"),
        (["train", "--set", "model=s8-group"], 2, "give another with --model"),
        (["train", "--data", "sample", "--recipe", "misspelt.toml"], 1, "no network is called 's8_group'"),
        (
            ["train", "--data", "sample", "--model", "s8-group", "--fold-epochs", "5"],
            2,
            "fold.epochs = 5, but the norms of s8-group follow ReLU and cannot be folded",
        ),
        (["train", "--recipe", "missing.toml"], 2, "cannot read the recipe missing.toml: No such file or directory"),
        (["train", "--epochs", "0"], 2, "'0' is not a whole number of 1 or more"),
        (["train", "--init", "none", "--set", "init=gn-cnn"], 2, "say the same"),
        (["train", "--preview", "a.png", "--cross-validate", "2"], 2, "leave out --cross-validate"),
        (["train", "--name", "../x"], 2, "not a folder's name"),
        (["train", "--data", "sample", "--set", "holdout=500"], 1, "leaves none"),
        (["train", "--data", "sample", "--set", "teacher=nowhere"], 1, "the recipe's teacher: no file, run"),
        (["train", "--data", "nowhere"], 1, "nowhere"),
        (["train", "--data", "", "--offline"], 1, "the name of the data is empty"),
        (["data", "--data", "~nobody-of-this-name/x"], 1, "~nobody-of-this-name/x: there is no such home"),
        (["fold", "nowhere"], 1, "nowhere"),
        (["fold", "gn-cnn"], 1, "never written to"),
        (["fold"], 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_line(
    cifar_edge: RunCommand, tmp_path: Path, arguments: list[str], exit_code: int, message: str
) -> None:
    (tmp_path / "misspelt.toml").write_text('model = "s8_group"\n')
    done = cifar_edge(*arguments)
    assert done.returncode == exit_code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "runs").exists()


def test_a_name_that_is_taken(cifar_edge: RunCommand, trained: Path) -> None:
    before = (trained / "model.safetensors").read_bytes()
    done = cifar_edge("train", "--data", "sample", "--epochs", "1", "--name", "plain")
    assert (done.returncode, (trained / "model.safetensors").read_bytes()) == (1, before)
    assert "already holds a run" in done.stderr


def test_norms_after_relu_are_not_folded(cifar_edge: RunCommand, tmp_path: Path) -> None:
    assert (
        cifar_edge("train", "--data", "sample", "--model", "s8-batch", "--epochs", "1", "--name", "s8").returncode == 0
    )
    done = cifar_edge("fold", "runs/s8")
    assert done.returncode == 1
    assert "cannot be folded" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("cifar-edge train --set fold.e", ["fold.epochs="]),
        ("cifar-edge train --set learning", ["learning_rate="]),
        ("cifar-edge fold RUN --set fold.c", ["fold.contrast="]),
        ("cifar-edge fold RUN --set epo", []),
    ],
)
def test_a_shell_completes_the_keys_of_a_recipe(
    cifar_edge: RunCommand, monkeypatch: pytest.MonkeyPatch, words: str, expected: list[str]
) -> None:
    monkeypatch.setenv("_CIFAR_EDGE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert [line.removeprefix("plain,") for line in cifar_edge().stdout.splitlines() if line] == expected
