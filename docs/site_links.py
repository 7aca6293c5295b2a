"""The site's own part of Sphinx: links between Markdown files are its navigation, and work as on a code host.

- The navigation is the lists of links in the index page: each section of it is a part, each linked page an entry. A
  page that is linked nowhere in those lists fails the build.
- A link to a folder leads to the folder's README.md where that is a page, else it is plain text.
- The folder of the built site opens at the index page.
"""

import posixpath
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

BEFORE_TOCTREES_ARE_COLLECTED = 100


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect it to Sphinx."""
    app.connect("doctree-read", resolve_folders, priority=BEFORE_TOCTREES_ARE_COLLECTED)
    app.connect("doctree-read", add_navigation, priority=BEFORE_TOCTREES_ARE_COLLECTED)
    app.connect("build-finished", write_entrance)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def resolve_folders(app: Sphinx, doctree: nodes.document) -> None:
    """Lead links to folders to the README.md in them."""
    for link in list(doctree.findall(addnodes.pending_xref)):
        if link["reftype"] != "myst" or link["refdomain"] is not None:
            continue
        folder = posixpath.normpath(posixpath.join(posixpath.dirname(app.env.docname), link["reftarget"]))
        if not Path(app.srcdir, folder).is_dir():
            continue
        readme = f"{folder}/README"
        if readme in app.env.found_docs:
            link["refdomain"], link["reftarget"], link["reftargetid"] = "doc", readme, None
        else:
            link.replace_self(link.children)


def add_navigation(app: Sphinx, doctree: nodes.document) -> None:
    """Make a hidden table of contents of each section of the index page, one entry a link in its lists."""
    if app.env.docname != app.config.root_doc:
        return
    for section in list(doctree.findall(nodes.section)):
        entries = [
            (link.astext(), link["reftarget"])
            for items in section.children
            if isinstance(items, nodes.bullet_list)
            for link in items.findall(addnodes.pending_xref)
            if link["refdomain"] == "doc" and link["reftargetid"] is None
        ]
        if entries:
            section += _toctree(app.env.docname, section[0].astext(), entries)


def _toctree(docname: str, caption: str, entries: list[tuple[str, str]]) -> nodes.Node:
    toctree = addnodes.toctree(
        parent=docname,
        entries=entries,
        includefiles=[target for _, target in entries],
        caption=caption,
        rawcaption=caption,
        maxdepth=1,
        glob=False,
        hidden=True,
        includehidden=False,
        numbered=0,
        titlesonly=True,
    )
    return nodes.compound("", toctree, classes=["toctree-wrapper"])


def write_entrance(app: Sphinx, exception: Exception | None) -> None:
    """Write the index.html at the top, which leads to the index page in its folder."""
    if exception is None and app.builder.format == "html":
        target = relative_uri("", app.builder.get_target_uri(app.config.root_doc))
        Path(app.outdir, "index.html").write_text(
            f'<!doctype html>\n<meta charset="utf-8">\n<title>{app.config.project}</title>\n'
            f'<meta http-equiv="refresh" content="0; url={target}">\n<a href="{target}">{app.config.project}</a>\n'
        )
