"""What `import seqjax` promises: the names, their types, an example of each, and how little it imports."""

import ast
import doctest
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import seqjax

ROOT = Path(__file__).parent.parent
STUB = ast.parse((ROOT / "seqjax" / "__init__.pyi").read_text())
HEAVY = ("jax", "tensorflow_datasets", "matplotlib", "sklearn", "orbax.checkpoint", "tyro")


@pytest.mark.parametrize("name", seqjax.__all__)
def test_each_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestParser().get_doctest(inspect.getdoc(getattr(seqjax, name)) or "", {}, name, None, None)
    # imported from where it is stable, as a reader would paste it
    assert any("seqjax" in example.source and "import" in example.source for example in found.examples)
    assert any(name in example.source and "import " not in example.source for example in found.examples)
    assert any(example.want for example in found.examples)
    said = []
    assert doctest.DocTestRunner().run(found, out=said.append).failed == 0, "".join(said)


def test_the_stub_says_what_is_imported():
    imported = {
        alias.asname: (node.module, alias.name)
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {name: (module, name) for name, module in seqjax.MODULE_OF.items()}
    (listed,) = (node.value for node in STUB.body if isinstance(node, ast.Assign) and node.targets[0].id == "__all__")
    assert sorted(ast.literal_eval(listed)) == sorted(seqjax.__all__)
    assert set(seqjax.__all__) <= set(dir(seqjax))


def test_no_name_hides_a_module_or_stands_for_two():
    assert sum(len(names) for names in seqjax.PUBLIC.values()) == len(seqjax.__all__)
    assert [name for name in seqjax.__all__ if importlib.util.find_spec(f"seqjax.{name}")] == []
    with pytest.raises(AttributeError, match="no attribute 'nosuch'"):
        _ = seqjax.nosuch


def test_nothing_is_imported_before_it_is_asked_for():
    probe = (
        f"import sys, seqjax; dir(seqjax); heavy = {HEAVY!r}\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
        "[getattr(seqjax, name) for name in seqjax.__all__ if name != 'load']\n"
        "assert not [name for name in heavy[1:] if name in sys.modules], [n for n in heavy[1:] if n in sys.modules]"
    )
    end = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert end.returncode == 0, end.stderr
