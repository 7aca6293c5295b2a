from pathlib import Path

import pytest
from conftest import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.errors import RecipeError
from cifar_edge.models import MODELS, default_recipe
from cifar_edge.runs.recipe import FoldRecipe, Recipe, Strength


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_network_has_a_default_recipe_of_at_most_20_epochs(model: str) -> None:
    recipe = default_recipe(model)
    assert recipe.model == model
    assert recipe.epochs + recipe.fold.epochs <= 20


NAMES = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(0, 10),
    flip=st.booleans(),
    teacher=NAMES | st.lists(NAMES).map(tuple),
    light=st.floats(0, 1) | st.tuples(st.floats(0, 1), st.floats(1, 10)),
)
def test_toml_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    epochs: int,
    rate: float,
    flip: bool,
    teacher: str | tuple[str, ...],
    light: Strength,
) -> None:
    recipe = Recipe(epochs=epochs, learning_rate=rate, flip=flip, teacher=teacher, fold=FoldRecipe(contrast=light))
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_file(path) == recipe


def test_settings_change_what_they_name() -> None:
    recipe = Recipe().updated(["learning_rate=1", "flip=false", "teacher=runs/a b", 'precision="fp32"'])
    assert (recipe.learning_rate, recipe.flip, recipe.teacher, recipe.precision) == (1.0, False, "runs/a b", "fp32")
    assert recipe.epochs == Recipe().epochs


def test_light_is_a_strength_or_a_range_and_teachers_are_one_or_more() -> None:
    recipe = Recipe().updated(["brightness=0.4", "fold.contrast=[0.3, 2]", 'teacher=["runs/a", "runs/b"]'])
    assert (recipe.brightness, recipe.fold.contrast) == (0.4, (0.3, 2.0))
    assert recipe.teachers == ("runs/a", "runs/b")
    assert Recipe().updated(["teacher=runs/a"]).teachers == ("runs/a",)
    assert Recipe().teachers == ()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "recipes have no key 'epoch'"),
        ("epochs", "is not key=value"),
        ("epochs=0", "not between"),
        ("epochs=2.5", "is not a whole number"),
        ("epochs=true", "is not a whole number"),
        ("learning_rate=nan", "not between"),
        ("precision=fp16", "is not one of"),
        ("flip=1", "is not true or false"),
        ("epochs=[1, 2]", "is not a whole number"),
        ("brightness=[0.5]", "nor two of them"),
        ("brightness=[0.5, true]", "nor two of them"),
        ("contrast=[1.5, 0.3]", "not a range of factors"),
        ("contrast=[0.3, nan]", "not a range of factors"),
        ("contrast=[-0.1, 1]", "not a range of factors"),
        ("contrast=1.1", "not between"),
        ("teacher=3", "nor a list"),
        ("copy_shift=1", "set augmented_copies"),
        ("crop=32", "crop = 32 is not less than size = 32"),
        ("copy_seed=1", "set augmented_copies"),
        ("mixtures=0.4", "set augmented_copies"),
        ('teacher=["runs/a", 3]', "nor a list"),
        ("fold.epoch=3", "recipes have no key 'fold.epoch'"),
        ("fold.epochs=-1", "not between"),
        ("fold.contrast=[1.5, 0.3]", "not a range of factors"),
        ("fold=3", "is not a table"),
        ("fold_seed=3", "recipes have no key"),
    ],
)
def test_what_makes_no_recipe_is_one_line(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe().updated([setting])
    assert "\n" not in str(caught.value)


def test_recipes_of_earlier_versions_are_read_as_ever() -> None:
    old = {"copies": 20, "average_decay": 0.9, "fold_epochs": 3, "fold_learning_rate": 0.2, "fold_contrast": [0.5, 2]}
    today = Recipe(
        augmented_copies=20, ema_decay=0.9, fold=FoldRecipe(epochs=3, learning_rate=0.2, contrast=(0.5, 2.0))
    )
    assert Recipe.from_mapping(old) == today
    assert Recipe().updated(["copies=20", "average_decay=0.9"]).changed({"fold_epochs": 3}).fold.epochs == 3
    with pytest.raises(RecipeError, match="given twice"):
        Recipe.from_mapping({"fold_epochs": 3, "fold": {"epochs": 3}})


def test_the_recipes_of_released_models_are_read() -> None:
    files = sorted((CHECKOUT / "models").glob("*/*.toml"))
    assert len([Recipe.from_file(file) for file in files]) > 3


def test_the_fine_tuning_has_its_own_values_and_those_of_the_training() -> None:
    recipe = Recipe(epochs=9, crop=2, contrast=0.5, fold=FoldRecipe(epochs=4, learning_rate=0.3))
    tuned = recipe.fine_tuning
    assert (tuned.epochs, tuned.learning_rate, tuned.contrast, tuned.crop) == (4, 0.3, 0.0, 2)


def test_a_file_of_a_windows_editor(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xef\xbb\xbfepochs = 7\r\n")
    assert Recipe.from_file(tmp_path / "recipe.toml").epochs == 7


@pytest.mark.parametrize("content", [b"epochs = ", b"\xff\xfe", b"[a]\nb = 1"])
def test_a_file_that_is_no_recipe(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError):
        Recipe.from_file(path)
