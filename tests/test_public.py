"""What is public: the names, and the examples beside them, which run."""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from types import ModuleType

import pytest
from conftest import CHECKOUT

import cifar_edge
from cifar_edge import errors


def base_modules() -> list[ModuleType]:
    """Every module that the base install can import, but for the command line."""
    names = ["cifar_edge", "cifar_edge.errors", "cifar_edge.files", "cifar_edge.spec"]
    for package in map(importlib.import_module, ("cifar_edge.runtime", "cifar_edge.data", "cifar_edge.web")):
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return [importlib.import_module(name) for name in names]


def test_the_public_namespace_is_what_it_says() -> None:
    assert len(set(cifar_edge.__all__)) == len(cifar_edge.__all__)
    assert set(cifar_edge.__all__) <= set(dir(cifar_edge))
    for name in cifar_edge.__all__:
        assert getattr(cifar_edge, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'Clasifier'"):
        cifar_edge.Clasifier  # noqa: B018 - to look is to raise


def test_every_error_is_public() -> None:
    raised = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert raised < set(cifar_edge.__all__)


def test_a_star_brings_every_public_name_and_no_other() -> None:
    names: dict[str, object] = {}
    exec("from cifar_edge import *", names)
    assert names.keys() - {"__builtins__"} == set(cifar_edge.__all__)


def test_types_and_names_agree() -> None:
    """What a type checker reads, under TYPE_CHECKING, is what is public."""
    text = (CHECKOUT / "cifar_edge" / "__init__.py").read_text()
    block = text.partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    imported = set(re.findall(r"\b[A-Z]\w+\b", block))
    assert imported | {"__version__"} == set(cifar_edge.__all__)


@pytest.mark.parametrize("name", ["cifar_edge.data", "cifar_edge.models"])
def test_the_names_of_packages_are_there(name: str) -> None:
    module = importlib.import_module(name)
    assert all(getattr(module, public) is not None for public in module.__all__)


def test_examples_in_docstrings_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CHECKOUT)
    attempted = {module.__name__: doctest.testmod(module) for module in base_modules()}
    assert {name: result for name, result in attempted.items() if result.failed} == {}
    assert attempted["cifar_edge.runtime.classifier"].attempted >= 8


def test_examples_in_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        done = subprocess.run([sys.executable, "-c", block], cwd=CHECKOUT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout
