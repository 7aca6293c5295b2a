from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.errors import RecipeError
from cifar_edge.models import MODELS
from cifar_edge.training.recipe import Recipe


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_network_has_a_default_recipe_of_at_most_20_epochs(model: str) -> None:
    recipe = Recipe.default(model)
    assert recipe.model == model
    assert recipe.epochs + recipe.fold_epochs <= 20


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(0, 10),
    flip=st.booleans(),
    teacher=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_toml_round_trip(
    tmp_path_factory: pytest.TempPathFactory, epochs: int, rate: float, flip: bool, teacher: str
) -> None:
    recipe = Recipe(epochs=epochs, learning_rate=rate, flip=flip, teacher=teacher)
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_file(path) == recipe


def test_settings_change_what_they_name() -> None:
    recipe = Recipe().updated(["learning_rate=1", "flip=false", "teacher=runs/a b", 'precision="fp32"'])
    assert (recipe.learning_rate, recipe.flip, recipe.teacher, recipe.precision) == (1.0, False, "runs/a b", "fp32")
    assert recipe.epochs == Recipe().epochs


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "no recipe has a key 'epoch'"),
        ("epochs", "is not key=value"),
        ("epochs=0", "not between"),
        ("epochs=2.5", "is no int"),
        ("epochs=true", "is no int"),
        ("learning_rate=nan", "not between"),
        ("precision=fp16", "is none of"),
        ("flip=1", "is no bool"),
    ],
)
def test_what_makes_no_recipe_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe().updated([setting])
    assert "\n" not in str(caught.value)


def test_a_file_of_a_windows_editor(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbfepochs = 7\r\n")
    assert Recipe.from_file(tmp_path / "recipe.toml").epochs == 7


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe", b"[a]\nb = 1"])
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError):
        Recipe.from_file(path)
