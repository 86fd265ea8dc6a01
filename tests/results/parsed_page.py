"""A report as a browser's parser finds it: elements with their attributes and texts, and what they would fetch."""

from html.parser import HTMLParser
from typing import NamedTuple

VOID = ("img", "meta")
LOADS = ("src", "srcset", "href", "xlink:href", "data", "action", "poster", "background", "style")


class Node(NamedTuple):
    tag: str
    attributes: dict[str, str | None]
    text: list[str]


class Page(HTMLParser):
    """nodes: every element in order, with the text of it and of those inside."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self._open: list[Node] = []
        self.feed(content)
        self.close()
        assert not self._open, f"never closed: {[node.tag for node in self._open]}"

    def handle_starttag(self, tag, attrs):
        node = Node(tag, dict(attrs), [])
        assert len(node.attributes) == len(attrs)
        self.nodes.append(node)
        if tag not in VOID:
            self._open.append(node)

    def handle_endtag(self, tag):
        assert self._open.pop().tag == tag

    def handle_data(self, data):
        for node in self._open:
            node.text.append(data)

    def all(self, tag: str, **attributes: str) -> list[Node]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [node for node in self.nodes if node.tag == tag and wanted.items() <= node.attributes.items()]

    def text(self, tag: str = "body") -> str:
        return " ".join("".join(node.text) for node in self.all(tag))

    def cells(self, caption: str) -> list[list[str]]:
        """The texts of the table whose caption begins so, line by line."""
        start = next(
            n for n, node in enumerate(self.nodes) if node.tag == "caption" and "".join(node.text).startswith(caption)
        )
        lines: list[list[str]] = []
        for node in self.nodes[start:]:
            if node.tag == "table":
                break
            if node.tag == "tr":
                lines.append([])
            elif node.tag in ("th", "td"):
                lines[-1].append("".join(node.text))
        return lines

    def loaded(self) -> list[str]:
        """What its elements point to, outside of the page itself."""
        found = [v or "" for node in self.nodes for name, v in node.attributes.items() if name in LOADS]
        return [value for value in found if not value.startswith(("#", "data:image/png;base64,"))]
