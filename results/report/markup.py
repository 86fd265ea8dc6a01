"""HTML elements. Text is escaped where it enters one: no name, value or path can become markup."""

from collections.abc import Mapping
from html import escape

from seqjax.errors import shown

LONGEST = 300  # characters of a text: a value of any length must leave the page readable
VOID = frozenset(("img", "meta"))


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def escaped(text: str, *, longest: int = LONGEST) -> Markup:
    """The text as HTML shows it, cut where it is too long; what cannot be printed, as Python writes it."""
    cut = text if len(text) <= longest else f"{text[:longest]}…"
    return Markup(escape(shown(cut)))


def joined(*parts: str) -> Markup:
    """The parts after each other, those that are no markup escaped."""
    return Markup("".join(part if isinstance(part, Markup) else escaped(part) for part in parts))


def element(tag: str, *children: str, **attributes: str | float | None) -> Markup:
    """`<tag name="value">children</tag>`. Those that are None are left out; `class_` and `aria_label` are names."""
    pairs = ((name.rstrip("_").replace("_", "-"), value) for name, value in attributes.items() if value is not None)
    start = "".join(f' {name}="{joined(value if isinstance(value, str) else repr(value))}"' for name, value in pairs)
    return Markup(f"<{tag}{start}>" if tag in VOID else f"<{tag}{start}>{joined(*children)}</{tag}>")


def code_block(text: str, *, longest: int = 4000) -> Markup:
    """A command, to be copied from a box of its own."""
    return element("pre", element("code", escaped(text, longest=longest)), tabindex=0)


def folded(summary: str, *children: str, id_: str | None = None) -> Markup:
    """What is opened by a click, and by printing."""
    return element("details", element("summary", summary), *children, id_=id_)


def facts(values: Mapping[str, str]) -> Markup:
    """Names with their values, those without a value left out."""
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in values.items() if value)
    return element("dl", *pairs)


def badge(word: str, known: Mapping[str, str]) -> Markup:
    """A verdict in the colour of its kind: `good`, `bad` or `plain`. The word says the same without it."""
    return element("span", word, class_=f"badge {known.get(word, 'plain')}")


def left_out(count: int, what: str) -> Markup:
    """A line that says so, where a page has no room for everything."""
    return element("p", f"{count} more {what} left out.", class_="note") if count > 0 else Markup()
