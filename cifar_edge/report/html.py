"""HTML from text that may hold anything: what is not `Html` already is escaped."""

import html
from collections.abc import Iterable

from cifar_edge.messages import fit

_VOID = frozenset({"br", "img", "link", "meta"})


class Html(str):
    """Text that is HTML. It is put into other HTML as it is."""

    __slots__ = ()


Attribute = str | int | float | bool | None


def element(name: str, /, *children: str, **attributes: Attribute) -> Html:
    """An element of HTML or SVG.

    Args:
        name: such as ``td``.
        children: its content; a string that is not `Html` is escaped.
        attributes: ``class_`` and ``aria_label`` mean ``class`` and ``aria-label``. True gives the name alone, False
            and None leave the attribute out.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children)}</{name}>")


def join(parts: Iterable[str], between: str = "") -> Html:
    """The parts one after the other, with ``between``; what is not `Html` is escaped."""
    return Html(_escaped(between).join(map(_escaped, parts)))


def _escaped(text: str) -> str:
    return text if isinstance(text, Html) else html.escape(fit(text))


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{html.escape(fit(str(value)))}"'


def table(caption: str, heads: Iterable[str], rows: Iterable[Iterable[str]], /, **attributes: Attribute) -> Html:
    """A table in a region of its own, which scrolls where the screen is narrow.

    Args:
        caption: what it shows.
        heads: of its columns.
        rows: the first cell of each is the head of the row. A cell that is a ``td`` or ``th`` already stays.
        attributes: of the table.
    """
    head = element("tr", *(element("th", each, scope="col") for each in heads))
    body = [element("tr", *(_cell(each, place) for place, each in enumerate(row))) for row in rows]
    inner = element("table", element("caption", caption), element("thead", head), element("tbody", *body), **attributes)
    return element("div", inner, class_="scroll", role="region", aria_label=caption, tabindex=0)


def _cell(content: str, place: int) -> Html:
    if isinstance(content, Html) and content.startswith(("<td", "<th")):
        return content
    return element("th", content, scope="row") if place == 0 else element("td", content)


def code(text: str) -> Html:
    """A command, a name of a file, or a value, as it is typed."""
    return element("code", text)


def missing(what: str, command: str = "", then: str = "") -> Html:
    """The one line in place of what a run lacks: what it is, and the command that makes it."""
    parts = [what] if not command else [f"{what} ", code(command), then or " makes it."]
    return element("p", *parts, class_="missing")
