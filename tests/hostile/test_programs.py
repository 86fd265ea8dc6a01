"""Files that carry a program, to every reader: none of it runs."""

import ast
import io
import json
import os
import pickle
import sys
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest
from readers import DESCRIPTION, GRIDS, READERS, copied_data_set, read_config, read_grid

from seqjax.data.tfds_directory import prepared_dataset
from seqjax.errors import DataError, SeqjaxError, UsageError

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("seqjax", "experiments", "launch", "results")


class Program:
    """What makes a directory as soon as it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def header_of(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def programs(mark: Path) -> Iterator[tuple[str, bytes]]:
    """Everything that some reader of such files somewhere runs, or has run; each would make the directory `mark`."""
    program, code = Program(mark), f"__import__('os').mkdir({str(mark)!r})"
    objects = saved(np.array([[program] * 3] * 20, object))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"pickle of protocol {protocol}", pickle.dumps(program, protocol)
    yield "array of objects", objects
    yield "array with a field of objects", saved(np.array([(program, 1)] * 20, [("x", "O"), ("label", "i8")]))
    names = ("x", "label", "y", "x_train", "x_test", "cell_0/input_kernel", "gate_order", "pickle")
    yield "archive of objects", zipped({f"{name}.npy": objects for name in names})
    yield (
        "archive of pickles",
        zipped({f"{name}{end}": pickle.dumps(program) for name in names for end in ("", ".npy")}),
    )
    yield "archive as PyTorch saves it", zipped({"archive/data.pkl": pickle.dumps(program), "archive/version": b"3\n"})
    yield "header with a call", header_of(f"{{'descr': {code}, 'fortran_order': False, 'shape': (20, 3), }}\n")
    yield "Python", code.encode()
    yield "JSON of Python", json.dumps({"config": code, "grid": {code: [code]}, "experiment": code}).encode()
    yield "JSON that names a class", json.dumps({"py/reduce": [{"py/function": "os.mkdir"}, [str(mark)]]}).encode()
    yield "YAML", f"!!python/object/apply:os.mkdir [{str(mark)!r}]\n".encode()
    yield "shell", f"$(mkdir '{mark}'); `mkdir '{mark}'`\n".encode()


def below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("name", READERS)
def test_no_reader_runs_a_program(name, tmp_path, bounded_memory):
    reader, mark = READERS[name], tmp_path / "mark"
    path = tmp_path / "run" / "deep" / reader.file
    path.parent.mkdir(parents=True)
    reader.around(tmp_path / "run" / "deep")
    path.touch()
    before = below(tmp_path)
    for kind, content in programs(mark):
        path.write_bytes(content if name != "checkpoint" else b"\0" + content)
        with suppress(SeqjaxError):
            reader.read(path)
        assert below(tmp_path) == before, kind


def test_the_programs_would_run(tmp_path):
    for number, make in enumerate((pickle.dumps, lambda program: saved(np.array([program], object)))):
        content = make(Program(tmp_path / str(number)))
        np.load(io.BytesIO(content), allow_pickle=True)
        assert (tmp_path / str(number)).is_dir()


@pytest.mark.parametrize("field", ["dataset", "hidden", "learning_rate", "steps"])
def test_no_value_of_a_configuration_is_run(field, tmp_path):
    mark = tmp_path / "mark"
    code = f"__import__('os').mkdir({str(mark)!r})"
    forged = DESCRIPTION | {"config": DESCRIPTION["config"] | {field: code}}
    (tmp_path / "config.json").write_text(json.dumps(forged))
    (tmp_path / "grid.json").write_text(json.dumps({"grid": GRIDS[0]["grid"] | {field: [code]}}))
    for read, path in ((read_config, tmp_path), (read_grid, tmp_path / "grid.json")):
        # the name of a data set may be any text
        with nullcontext() if field == "dataset" else pytest.raises(UsageError):
            read(path)
    assert not mark.exists()


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_description_of_features_chooses_no_code(key, inside, tmp_path, monkeypatch):
    copied_data_set(tmp_path)
    (tmp_path / "hostile_module.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'mark')!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "numbers" / "1.0.0" / "features.json"
    found = json.loads(path.read_text())
    changed = next(iter(found["featuresDict"]["features"].values())) if inside else found
    for known in ("pythonClassName", "python_class_name", "type"):
        changed.pop(known, None)
    changed[key] = "hostile_module.Feature"
    path.write_text(json.dumps(found))
    with pytest.raises(DataError, match=r"names the class 'hostile_module.Feature'"):
        prepared_dataset("numbers", tmp_path)
    assert not (tmp_path / "mark").exists()
    assert "hostile_module" not in sys.modules


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


FORBIDDEN = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "torch.load", "input"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}


def test_no_code_is_made_of_data():
    found = []
    for path in (path for top in PACKAGES for path in sorted((ROOT / top).rglob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=names):
                    wrong = [alias.name for alias in names if alias.name.partition(".")[0] in MODULES]
                case ast.ImportFrom(module=str(module)):
                    wrong = [module] if module.partition(".")[0] in MODULES else []
                case ast.Call(keywords=keywords):
                    given = {k.arg: ast.unparse(k.value) for k in keywords if k.arg}
                    unpickling = given.get("allow_pickle", "False") != "False" or given.get("shell", "False") != "False"
                    bare = called(node).endswith("np.load") and given.get("allow_pickle") != "False"
                    wrong = [called(node)] if called(node) in FORBIDDEN or unpickling or bare else []
                case _:
                    wrong = []
            found += [f"{path.relative_to(ROOT)}:{node.lineno}: {name}" for name in wrong]
    assert not found
