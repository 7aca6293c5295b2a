"""Write recipe.md beside this file: every key of a recipe, from the docstrings of `cifar_edge.runs.recipe`.

A test holds the page equal to them. After a change of a key: python docs/write_recipe.py
"""

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cifar_edge.runs.recipe as recipe_module
from cifar_edge.models import default_recipe
from cifar_edge.runs.recipe import FoldRecipe, Recipe

PAGE = Path(__file__).parent / "recipe.md"
BEGINNING = """\
# Keys of a recipe

A recipe holds every choice of a training. The run keeps it as `recipe.toml`; `cifar-edge train --recipe FILE` trains by
one, `--set KEY=VALUE` changes a key. This page is written by `python docs/write_recipe.py`: do not edit.

Without `--recipe` a network's own recipe is taken: the third column has gn-cnn's, where it differs from the default.
Own images have other values of some keys ([own classes](own-classes.md)). A key missing from a FILE takes the default,
whatever the network.

| key | default | gn-cnn | meaning |
|---|---|---|---|
"""
END = """
Next: [training](training.md), or the [Python API](api.md).
"""


def page() -> str:
    """The whole page."""
    default, own = Recipe().settings, default_recipe("gn-cnn").settings
    texts = {**dict(_texts(Recipe)), **{f"fold.{name}": text for name, text in _texts(FoldRecipe)}}
    del texts["fold"]  # the table itself
    lines = []
    for key, text in texts.items():
        differs = "" if own[key] == default[key] else _shown(own[key])
        lines.append(f"| `{key}` | {_shown(default[key])} | {differs} | {text} |\n")
    return BEGINNING + "".join(lines) + END


def _texts(kind: type) -> Iterator[tuple[str, str]]:
    """Each field of a dataclass, and the string below it, in a line."""
    tree = ast.parse(inspect.getsource(recipe_module))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            yield field.target.id, _in_markdown(str(text.value.value))


def _in_markdown(text: str) -> str:
    text = re.sub(r"`+", "`", " ".join(text.split())).replace("|", "\\|")
    return re.sub(r"docs/(\w+)\.md", r"[\1](\1.md)", text)


def _shown(value: Any) -> str:
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value!r}`"


if __name__ == "__main__":
    PAGE.write_text(page())
