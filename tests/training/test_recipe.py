from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar_edge.errors import RecipeError
from cifar_edge.models import MODELS
from cifar_edge.training.recipe import Recipe, Strength


@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_network_has_a_default_recipe_of_at_most_20_epochs(model: str) -> None:
    recipe = Recipe.default(model)
    assert recipe.model == model
    assert recipe.epochs + recipe.fold_epochs <= 20


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
    recipe = Recipe(epochs=epochs, learning_rate=rate, flip=flip, teacher=teacher, contrast=light)
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_file(path) == recipe


def test_settings_change_what_they_name() -> None:
    recipe = Recipe().updated(["learning_rate=1", "flip=false", "teacher=runs/a b", 'precision="fp32"'])
    assert (recipe.learning_rate, recipe.flip, recipe.teacher, recipe.precision) == (1.0, False, "runs/a b", "fp32")
    assert recipe.epochs == Recipe().epochs


def test_light_is_a_strength_or_a_range_and_teachers_are_one_or_more() -> None:
    recipe = Recipe().updated(["brightness=0.4", "fold_contrast=[0.3, 2]", 'teacher=["runs/a", "runs/b"]'])
    assert (recipe.brightness, recipe.fold_contrast) == (0.4, (0.3, 2.0))
    assert recipe.teachers == ("runs/a", "runs/b")
    assert Recipe().updated(["teacher=runs/a"]).teachers == ("runs/a",)
    assert Recipe().teachers == ()


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
        ("epochs=[1, 2]", "is no int"),
        ("brightness=[0.5]", "nor two of them"),
        ("brightness=[0.5, true]", "nor two of them"),
        ("contrast=[1.5, 0.3]", "no range of factors"),
        ("contrast=[0.3, nan]", "no range of factors"),
        ("contrast=[-0.1, 1]", "no range of factors"),
        ("contrast=1.1", "not between"),
        ("teacher=3", "nor a list"),
        ('teacher=["runs/a", 3]', "nor a list"),
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
