"""The flags of an experiment, read as the experiment itself will read them."""

import ast
import re
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from launch.fields import PLAIN, Field
from seqjax.errors import UsageError

NEGATIVE = re.compile(r"-([0-9.].*|inf|nan|infinity)", re.IGNORECASE | re.DOTALL)


def values_of(known: Mapping[str, Field], flags: Sequence[str]) -> dict[str, Any]:
    """The values that flags set, as JSON would hold them: of a flag that is there twice the last.

    Raises UsageError for a flag that is not known, a value that it cannot take, and a word that belongs to none.
    """
    found, words = {}, deque(flags)
    while words:
        word = words.popleft()
        flag, equals, value = word.partition("=")
        if word == "--" and not words:
            break
        if not flag.startswith("--") or flag == "--":
            raise UsageError(f"{word!r}: belongs to no flag, expected --FLAG VALUE.")
        field = _field(known, flag)
        given = [value] if equals else []
        kind = known[field].annotation
        if _is_switch(kind):
            if given:
                raise UsageError(f"{flag}={value!r}: takes no value, expected --{_flag(field)} or --no-{_flag(field)}.")
            found[field] = field == flag[2:].replace("-", "_")
            continue
        while words and not _begins_flag(words[0]) and (_takes_many(kind) or not given):
            given.append(words.popleft())
        found[field] = _value(flag, kind, given)
    return found


def _flag(field: str) -> str:
    return field.replace("_", "-")


def _field(known: Mapping[str, Field], flag: str) -> str:
    name = flag[2:].replace("-", "_")
    positive = name.removeprefix("no_")
    if name in known:
        return name
    if positive in known and _is_switch(known[positive].annotation):
        return positive
    raise UsageError(f"--{_flag(name)}: no such flag, expected one of: {', '.join(map(_flag, sorted(known)))}.")


def _is_switch(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id == "bool"


def _takes_many(kind: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "tuple" for node in ast.walk(kind))


def _begins_flag(word: str) -> bool:
    if word == "--":
        return True
    return word.startswith("-") and word.lstrip("-")[:1].isalpha() and not NEGATIVE.fullmatch(word)


def _value(flag: str, kind: ast.expr, given: Sequence[str]) -> Any:
    try:
        return _read(kind, given)
    except ValueError:
        said = " ".join(map(repr, given))[:100] or "nothing"
        raise UsageError(f"{flag}: expected {ast.unparse(kind)}, found {said}.") from None


def _read(kind: ast.expr, given: Sequence[str]) -> Any:
    """Raises ValueError for words that are no value of this kind."""
    match kind:
        case ast.BinOp(left=left, right=right):
            # a path or a text would take the word None, too
            first, second = (right, left) if isinstance(right, ast.Constant) else (left, right)
            try:
                return _read(first, given)
            except ValueError:
                return _read(second, given)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[part, _])):
            return [_read(part, [word]) for word in given]
    (word,) = given
    match kind:
        case ast.Constant(value=None) if word == "None":
            return None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            parts = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            words = {str(part.value): part.value for part in parts if isinstance(part, ast.Constant)}
            if word in words:
                return words[word]
        case ast.Name(id="Path"):
            return str(Path(word))
        case ast.Name(id=name) if name in PLAIN:
            return PLAIN[name](word)
        case ast.Name():
            # what is not known here the experiment itself will check
            return word
    raise ValueError(word)


def run_dir_of(flags: Sequence[str]) -> str | None:
    """The run directory that flags name: of several the last, as for the experiment."""
    found = None
    for place, flag in enumerate(flags):
        key, equals, value = flag.partition("=")
        if key in ("--run-dir", "--run_dir"):
            found = value if equals else "".join(flags[place + 1 : place + 2])
    return found or None
