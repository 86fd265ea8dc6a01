"""A file of many configurations, and the members of the sweep that it stands for, each once."""

import hashlib
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from launch.fields import Field, canonical, fields_of, flags_of
from launch.flags import values_of
from seqjax.errors import UsageError
from seqjax.storage import read_json

MOST = 100_000
FORM = 'expected {"grid": {"field": [values]}} or {"list": [{"field": value}]}'


class Member(NamedTuple):
    """One run of a sweep. hash: of its configuration; run_dir: below the sweep's folder."""

    number: int
    hash: str
    name: str
    flags: list[str]
    run_dir: str


class Members(NamedTuple):
    members: list[Member]
    duplicates: int


def members_of(name: str, grid: Path, common: Sequence[str], environment: Sequence[tuple[str, str]] = ()) -> Members:
    """The runs that a grid file and the flags common to all ask for, numbered from 1, in the file's order.

    environment: what is set for all of them, which tells them from those where something else is.

    Raises UsageError for a file that is none, and for fields and values that the experiment does not have.
    """
    known = fields_of(name)
    taken = values_of(known, common)
    if "run_dir" in taken:
        raise UsageError("--run-dir: each member of a sweep has its own; name the sweep's folder with --folder.")
    # as one spelling, in one order: of the same sweep, however its command is written
    shared = flags_of(dict(sorted(taken.items())))
    found: dict[str, Member] = {}
    choices = read(grid)
    for choice in choices:
        try:
            values = _values(known, taken, choice)
            flags = flags_of(values)
        except UsageError as error:
            raise UsageError(f"{grid}: {error}") from None
        digest = _digest(name, known, taken | values, environment)
        if digest not in found:
            number = len(found) + 1
            found[digest] = Member(number, digest, name, [*shared, *flags], run_dir_of(number, digest))
    return Members(list(found.values()), len(choices) - len(found))


def run_dir_of(number: int, digest: str) -> str:
    return f"runs/{number:04d}-{digest}"


def _values(known: dict[str, Field], taken: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    for field in choice:
        if field == "run_dir":
            raise UsageError("run_dir: each member has its own below the sweep's folder.")
        if field in taken:
            raise UsageError(f"{field}: is also among the flags common to all; leave it out of one of them.")
    return {field: canonical(known, field, value) for field, value in choice.items()}


def _digest(name: str, known: dict[str, Field], values: dict[str, Any], environment: Sequence[tuple[str, str]]) -> str:
    """A configuration's hash: a field that is not named counts as one with its default, which `--smoke` changes."""
    told = {f: v for f, v in values.items() if values.get("smoke") or v != known[f].default}
    content = json.dumps([name, told, dict(environment)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:10]


def read(path: Path) -> list[dict[str, Any]]:
    """The choices of a grid file, in order: of a grid, the last field varies fastest."""
    try:
        content = read_json(path, object_pairs_hook=_once, parse_constant=_no_constant)
    except OSError as error:
        raise UsageError(f"--grid {path}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise UsageError(f"--grid {path}: is no JSON ({' '.join(str(error).split())}); {FORM}.") from None
    match content:
        case {"list": list(choices)} if len(content) == 1 and all(isinstance(c, dict) for c in choices):
            if choices and len(choices) <= MOST:
                return choices
            raise UsageError(f"--grid {path}: a list of {len(choices)}, expected 1 to {MOST}.")
        case {"grid": dict(axes)} if len(content) == 1 and all(isinstance(v, list) for v in axes.values()):
            empty = [field for field, values in axes.items() if not values]
            if empty or not axes:
                raise UsageError(f"--grid {path}: {empty[0] if empty else 'the grid'} is empty, expected values.")
            size = math.prod(len(values) for values in axes.values())
            if size > MOST:
                raise UsageError(f"--grid {path}: a grid of {size}, expected at most {MOST}.")
            return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    raise UsageError(f"--grid {path}: is no grid, {FORM}.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is there twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")
