"""The documentation site: how Sphinx builds it from the Markdown pages. `make docs` calls it."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

from cifar_edge import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for site_links

project = "cifar-edge"
author = "the cifar-edge authors"
copyright = f"{author}, Apache-2.0"  # noqa: A001 - Sphinx's name for it
version = release = __version__

extensions = ["myst_nb", "site_links", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The source is the whole checkout, so that a link such as ../models/gn-cnn/README.md is right on a code host and here.
root_doc = "docs/index"
include_patterns = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "cifar_edge/data/sample/README.md",
    "docs/**.md",
    "export/**.md",
    "models/**.md",
    "notebooks/*.ipynb",
]
exclude_patterns = [".*", "build", "dist", "runs", "**/node_modules", "**/__pycache__"]

# The notebook is shown with the outputs it is committed with.
nb_execution_mode = "off"
myst_heading_anchors = 3

# Single backticks in docstrings: a link where it leads somewhere, else code.
default_role = "py:obj"
smartquotes = False  # an option is written --json
add_module_names = False
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"cifar-edge {__version__}"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Connect what is said about docstrings here."""
    app.connect("autodoc-process-docstring", keep_colons, priority=100)


def keep_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Begin an attribute with an empty comment, or napoleon takes what stands before its first colon for its type."""
    if what in {"attribute", "property"}:
        lines[:0] = ["..", ""]
