"""The fields of an experiment, read from its source: values are checked and written as flags without importing JAX."""

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.errors import UsageError

ROOT = Path(__file__).parent.parent
OPTIONS = ROOT / "seqjax/experiment/options.py"
LONGEST = 100_000  # bytes of a value: Linux takes no argument of 128 KiB
PLAIN = {"int": int, "float": float, "str": str, "bool": bool, "Path": str}


class Field(NamedTuple):
    """A field of a configuration. default: as JSON would hold it; not a plain value: its source."""

    annotation: ast.expr
    default: Any


def fields_of(name: str) -> dict[str, Field]:
    """Of an experiment's `Config`, and of the options that every experiment has."""
    return _fields(OPTIONS, "Options") | _fields(ROOT / f"experiments/{name}.py", "Config")


def _fields(path: Path, class_name: str) -> dict[str, Field]:
    found = {}
    for node in ast.parse(path.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    annotation = _Meanings(path).visit(part.annotation)
                    found[part.target.id] = Field(annotation, _default(part.value))
    return found


class _Meanings(ast.NodeTransformer):
    """Puts for a name what it stands for in a module: `Driver` is one of several words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return node if node.id in PLAIN else _meaning(node.id, self.path) or node


def _meaning(name: str, path: Path) -> ast.expr | None:
    """What a module of this project, or the one that it has a name from, says that the name is."""
    if not path.exists():
        return None
    for node in ast.parse(path.read_bytes()).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                return value
            case ast.ImportFrom(module=str(module), names=imported) if name in [part.name for part in imported]:
                place = ROOT / module.replace(".", "/")
                return _meaning(name, place / "__init__.py" if place.is_dir() else place.with_suffix(".py"))
    return None


def _default(value: ast.expr | None) -> Any:
    try:
        found = ast.literal_eval(value)
    except (ValueError, TypeError):
        return ast.dump(value) if value else None
    return list(found) if isinstance(found, tuple) else found


def canonical(known: Mapping[str, Field], field: str, value: Any) -> Any:
    """The value as the field holds it: 1 and 1.0 are one learning rate.

    Raises UsageError for a field that is not known, and a value that it cannot take.
    """
    if field not in known:
        raise UsageError(f"{field}: no such field, expected one of: {', '.join(sorted(known))}.")
    annotation = known[field].annotation
    if value == "None" and _takes(annotation, None):
        # the command line knows no other way to say it
        value = None
    if not _takes(annotation, value):
        raise UsageError(f"{field}={value!r}: expected {ast.unparse(annotation)}.")
    return _as_float(value) if {"float"} == _names(annotation) & {"int", "float"} else value


def _as_float(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_float(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _names(annotation: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


def _takes(annotation: ast.expr, value: Any) -> bool:
    match annotation:
        case ast.BinOp(left=left, right=right):
            return _takes(left, value) or _takes(right, value)
        case ast.Constant(value=None):
            return value is None
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            parts = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return any(isinstance(part, ast.Constant) and part.value == value for part in parts)
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[part, ast.Constant(value=ellipsis)])):
            return ellipsis is Ellipsis and isinstance(value, list) and all(_takes(part, v) for v in value)
        case ast.Name(id=name) if name in PLAIN:
            if isinstance(value, bool):
                return name == "bool"
            return isinstance(value, (int, float) if name == "float" else PLAIN[name])
    # what is not known here the experiment itself will check
    return isinstance(value, str)


def flags_of(values: Mapping[str, Any]) -> list[str]:
    """The command-line flags that set fields to values. Raises UsageError for what no command line can carry."""
    flags = []
    for field, value in values.items():
        flag = field.replace("_", "-")
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            flags += [f"--{flag}", *(_element(field, part) for part in value)]
        else:
            # with "=", so that a value may begin with "-"
            flags.append(f"--{flag}={_text(field, value)}")
    return flags


def _element(field: str, value: Any) -> str:
    text = _text(field, value)
    if text.startswith("-") and isinstance(value, str):
        raise UsageError(f"{field}={value!r}: begins with '-', so among several values it would be read as a flag.")
    return text


def _text(field: str, value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    try:
        carried = os.fsencode(text)
    except UnicodeEncodeError:
        carried = b"\0"
    if b"\0" in carried:
        raise UsageError(f"{field}={value!r}: holds a character that no command line can carry.")
    if len(carried) > LONGEST:
        raise UsageError(f"{field}={text[:20]!r}...: has {len(carried)} bytes, expected at most {LONGEST}.")
    return text
