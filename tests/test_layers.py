"""The import direction of the layers, read from the syntax trees."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = (
    {"errors", "types", "storage", "numpy_files"},
    {
        "losses",
        "adversarial_losses",
        "clustering_losses",
        "mixture_prior",
        "densities",
        "bounds",
        "annealing",
        "noise",
        "threefry",
        "recurrent",
        "data",
    },
    {"models"},
    {"train", "evaluate", "parallel", "checkpoint", "receipt", "plots", "galleries", "interop"},
    {"experiment"},
    {"experiments"},
    {"launch", "results", "tests"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def layer_of(path: Path) -> str:
    top, *rest = path.relative_to(ROOT).with_suffix("").parts
    return rest[0] if top == "seqjax" else top


def imported_layers(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            top, *rest = name.split(".")
            if top == "seqjax" and rest:
                found.add(rest[0])
            elif top in LEVEL:
                found.add(top)
    return found


def source_files() -> list[Path]:
    return [p for top in ("seqjax", "experiments", "launch", "results") for p in sorted((ROOT / top).rglob("*.py"))]


def test_every_file_has_a_layer():
    unknown = [str(p.relative_to(ROOT)) for p in source_files() if layer_of(p) not in {*LEVEL, "__init__"}]
    assert not unknown


def test_imports_point_down():
    wrong = []
    for path in source_files():
        own = layer_of(path)
        if own == "__init__":
            continue
        for other in imported_layers(path) - {own}:
            if LEVEL.get(other, -1) > LEVEL[own]:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_orbax_is_imported_in_one_file():
    users = [p.name for p in source_files() if "orbax" in p.read_text() and "import orbax" in p.read_text()]
    assert set(users) <= {"checkpoint.py"}


def test_no_catch_all_modules():
    names = {p.stem for p in source_files()} | {p.parent.name for p in source_files()}
    assert not names & {"utils", "helpers", "common", "base", "core", "misc"}
