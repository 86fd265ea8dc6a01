import ast
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from seqjax import receipt


def test_interval_is_students_over_seeds():
    values = [1.0, 2.0, 4.0, 8.0]
    found = receipt.summary(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found["mean"] == 3.75
    assert found["ci95"] == pytest.approx((high - low) / 2)
    assert found["n"] == 4
    assert found["per_seed"] == values
    assert receipt.summary([3.0])["ci95"] is None
    equal = receipt.summary([52.89428758175263] * 3)
    assert (equal["mean"], equal["ci95"]) == (52.89428758175263, 0.0)
    endless = receipt.summary([1.0, math.inf])
    assert (endless["mean"], str(endless["ci95"])) == (math.inf, "nan")
    with pytest.raises(ValueError, match="no values"):
        receipt.summary([])


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (2.98765, 0.0213, "2.988 ± 0.021"),
        (123.456, 4.2, "123.5 ± 4.2"),
        (12345.6, 120.0, "12346 ± 120"),
        (0.0912345, None, "0.091234"),
        (13.86, 0.0, "13.86"),
        (52.894287581752643, 2.2e-14, "52.894"),
        (0.0912345, 0.00012, "0.09123 ± 0.00012"),
    ],
)
def test_digits_follow_the_interval(mean, half, text):
    assert receipt.interval_text({"mean": mean, "ci95": half}) == text


def test_table_pivots_rows_and_measures():
    metrics = {"a/x": receipt.summary([1.0]), "a/y": receipt.summary([2.0]), "b/y": receipt.summary([3.0])}
    assert receipt.table(metrics) == (["x", "y"], [("a", ["1", "2"]), ("b", ["", "3"])])


@pytest.fixture
def package(tmp_path):
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "used.py").write_text("from pack import deep\n\ndef f():\n    return deep.g()\n")
    (package / "deep.py").write_text("def g():\n    return 1\n")
    (package / "unused.py").write_text("x = 1\n")
    (tmp_path / "experiment.py").write_text('"""Claim."""\nfrom pack.used import f\n')
    return package


def code_of(package: Path) -> str:
    return receipt.code_sha256(package.parent / "experiment.py", package)


@pytest.mark.parametrize("file", ["pack/used.py", "pack/deep.py", "experiment.py"])
def test_code_hash_sees_a_change_in_any_module_imported(package, file):
    before = code_of(package)
    path = package.parent / file
    path.write_text(path.read_text() + "\ny = 2\n")
    assert code_of(package) != before


def test_no_tree_of_the_code_depends_on_the_version_of_python():
    """Python 3.12 puts an empty constant behind a value that ends a format specification, `f"{title:{width}}"`."""
    root = Path(__file__).parent.parent
    for path in [*root.glob("seqjax/**/*.py"), *root.glob("experiments/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
                assert isinstance(node.format_spec.values[-1], ast.Constant), (path, node.lineno)


def test_code_hash_ignores_comments_docstrings_layout_and_modules_not_imported(package):
    before = code_of(package)
    (package / "deep.py").write_text('"""Deep."""\n\n\ndef g():  # why\n    """One."""\n    return 1\n')
    (package / "unused.py").write_text("x = 2\n")
    assert code_of(package) == before
