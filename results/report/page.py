"""The HTML file: its style, its few lines of script, and a policy that lets it load nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from results.report.markup import Markup, element, joined

FOLDER = Path(__file__).parent
MADE_BY = element("meta", name="generator", content="python -m results report")


def page(title: str, lead: str, parts: Sequence[str]) -> str:
    """A whole HTML document.

    Its policy lets a browser run the one script, apply the one style sheet and show pictures that stand in the file:
    whatever a run directory holds, nothing is fetched and nothing else runs.
    """
    style, script = (Markup((FOLDER / name).read_text()) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}';"
        " base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        MADE_BY,
        element("meta", http_equiv="Content-Security-Policy", content=Markup(policy)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    main = element("main", element("h1", title), element("p", lead), *(Markup(f"\n{joined(part)}") for part in parts))
    body = element("body", main, Markup("\n"), element("script", script))
    return f"<!DOCTYPE html>\n{element('html', head, Markup(chr(10)), body, lang='en')}\n"


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
