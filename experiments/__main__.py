"""`python -m experiments` lists the experiments: name, claim, data and time, read without importing any.

`python -m experiments new NAME` begins another one, `export RUN_DIR OUTPUT` writes a run for other programs.
"""

import ast
import os
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
FIELDS = ("Data", "Time", "Run", "Expected")


class Entry(NamedTuple):
    """What the docstring of an experiment module says; empty where it says nothing."""

    name: str
    claim: str
    data: str
    time: str
    run: str
    expected: str


def names(folder: Path = FOLDER) -> list[str]:
    """The experiment modules of a folder, sorted."""
    return sorted(path.stem for path in folder.glob("*.py") if path.stem.isidentifier() and path.stem[0] != "_")


def entry(path: Path) -> Entry:
    """The entry of one module, from its syntax tree. A module that cannot be parsed says so in its claim."""
    try:
        text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    except (SyntaxError, ValueError) as error:
        return Entry(path.stem, f"cannot be read: {error}", "", "", "", "")
    claim, found, current = [], {}, None
    for line in map(str.strip, text.splitlines()):
        label, colon, rest = line.partition(":")
        if colon and label in FIELDS:
            current = found[label] = [rest.strip()]
        elif not line:
            # a blank line ends the claim or the field: what follows is prose for the reader of the module
            current = []
        elif current is not None:
            current.append(line)
        else:
            claim.append(line)
    return Entry(path.stem, " ".join(claim), *(" ".join(found.get(field, ())) for field in FIELDS))


def entries(folder: Path = FOLDER) -> list[Entry]:
    return [entry(folder / f"{name}.py") for name in names(folder)]


def unknown_name(name: str, known: list[str]) -> str:
    """The message for a name that is no experiment: one line, whatever the name holds."""
    return f"{name!r}: no such experiment, expected one of: {', '.join(known)}."


def show(found: list[Entry]) -> None:
    """A table as wide as the terminal; elsewhere of 120 columns in plain ASCII."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    terminal = sys.stdout.isatty()
    table = Table("name", "claim", "data", "time", show_lines=True, box=box.ROUNDED if terminal else box.ASCII)
    table.columns[0].no_wrap = True
    for e in found:
        table.add_row(*e[:4])
    # a claim may hold brackets: nothing in it is markup
    Console(width=None if terminal else 120, markup=False, highlight=False, emoji=False).print(table)
    print("Run one with python -m experiments.NAME; its flags: python -m experiments.NAME --help")


def new(args: list[str]) -> int:
    """The exit code of `new NAME`: 0 both files are written, 2 nothing is."""
    from experiments._new import CHECKOUT, refusal, scaffold

    if args in (["-h"], ["--help"]) or len(args) != 1:
        asked = len(args) == 1
        print("usage: python -m experiments new NAME", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    (name,) = args
    why = refusal(name)
    if why:
        print(f"experiments: {why}", file=sys.stderr)
        return 2
    try:
        written = scaffold(name)
    except OSError as error:
        print(f"experiments: {error.filename}: cannot be read or written ({error.strerror}).", file=sys.stderr)
        return 2
    for path in written:
        print(f"wrote {path.relative_to(CHECKOUT)}")
    print(f"Try it: python -m experiments.{name} --smoke; then make its claim, data, model and loss your own.")
    return 0


def main(args: list[str]) -> int:
    if args in (["-h"], ["--help"]):
        print("usage: python -m experiments            lists the experiments")
        print("       python -m experiments new NAME   writes an experiment that runs, and its test, to begin with")
        print("       python -m experiments.NAME ...   runs one; --help after it tells its flags")
        print("       python -m experiments export RUN_DIR OUTPUT   writes a run as StableHLO and safetensors")
        return 0
    if args[:1] == ["new"]:
        return new(args[1:])
    if args[:1] == ["export"]:
        from seqjax.experiment.export import main as export

        return export(args[1:])
    if args:
        print(
            f"experiments: {args[0]!r}: is neither new nor export nor a flag; run one with python -m experiments.NAME.",
            file=sys.stderr,
        )
        return 2
    show(entries())
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader has seen enough (`| head`); nothing is left to flush to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
