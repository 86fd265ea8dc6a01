"""`python -m experiments new NAME`: an experiment that runs, and its test, to be changed into one's own."""

import contextlib
import keyword
import re
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent
STEM = "_template"  # stands for the name all over the two files that are copied
MODULE, TEST = f"experiments/{STEM}.py", "tests/experiment/template.py"  # the second runs as what is made of it
RESERVED = {"new", "export", "seqjax", "experiments", "launch", "results", "tests", "jax", "flax", "optax", "numpy"}
LONGEST = 60


def targets(name: str, checkout: Path = CHECKOUT) -> tuple[Path, Path]:
    """The module and the test of an experiment of this name."""
    return checkout / "experiments" / f"{name}.py", checkout / "tests" / "experiment" / f"test_{name}.py"


def refusal(name: str, checkout: Path = CHECKOUT) -> str:
    """Why no experiment can be called so, in a line; empty where one can."""
    wanted = "expected a new name of small letters, digits and underscores that begins with a letter, like my_idea."
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or len(name) > LONGEST:
        return f"{name[:LONGEST]!r}: is no name of an experiment; {wanted}"
    if keyword.iskeyword(name):
        return f"{name!r}: is a keyword of Python; {wanted}"
    if name in RESERVED or name in sys.stdlib_module_names:
        return f"{name!r}: is the name of another module; {wanted}"
    # pytest wants each file name once, in whatever folder
    module, test = targets(name)
    taken = [*(checkout / "experiments").iterdir(), *(checkout / "tests").rglob("test_*.py")]
    for path in taken:
        if path.name in (name, module.name, test.name):
            return f"{name!r}: {path.relative_to(checkout)} exists and is left as it is; choose another name."
    return ""


def scaffold(name: str, checkout: Path = CHECKOUT) -> tuple[Path, Path]:
    """Writes both files or none, and none over another; returns their paths. Raises OSError where it cannot."""
    module, test = targets(name, checkout)
    texts = [(checkout / source).read_text().replace(STEM, name) for source in (MODULE, TEST)]
    with contextlib.ExitStack() as undo:
        for path, text in zip((module, test), texts, strict=True):
            with path.open("x") as file:
                undo.callback(path.unlink)
                file.write(text)
        undo.pop_all()
    return module, test
