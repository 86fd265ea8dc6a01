"""The fields of an experiment, read from its source: values are checked and written as flags without importing JAX."""

import ast
import os
from collections.abc import Mapping, Sequence
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
                    found[part.target.id] = Field(part.annotation, _default(part.value))
    return found


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
    # a name for one of several words, which the experiment itself will check
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


def check_flags(known: Mapping[str, Field], flags: Sequence[str]) -> set[str]:
    """The fields that flags set. Raises UsageError for one that is not known."""
    found = set()
    for flag in flags:
        if not flag.startswith("--") or flag == "--":
            continue
        name = flag[2:].split("=")[0].replace("-", "_")
        field = name if name in known else name.removeprefix("no_")
        if field not in known:
            raise UsageError(f"--{name.replace('_', '-')}: no such flag, expected one of: {', '.join(sorted(known))}.")
        found.add(field)
    return found


def run_dir_of(flags: Sequence[str]) -> str | None:
    """The run directory that flags name: of several the last, as for the experiment."""
    found = None
    for place, flag in enumerate(flags):
        key, equals, value = flag.partition("=")
        if key in ("--run-dir", "--run_dir"):
            found = value if equals else "".join(flags[place + 1 : place + 2])
    return found or None
