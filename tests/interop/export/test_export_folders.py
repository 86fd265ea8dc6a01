"""Folders of exported models, and what they say, against damage."""

import errno
import hashlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax
from seqjax.errors import DataError, UsageError
from seqjax.interop.export import (
    exported,
    load_named_weights,
    named_weights,
    read_export,
    save_named_weights,
    weights_like,
    write_export,
)


def test_weights_keep_every_bit(tmp_path):
    odd = np.frombuffer(np.arange(2**16, dtype=np.uint16).tobytes(), jnp.bfloat16)
    tree = {
        "params": {"encoder": {"dense_0": {"kernel": jnp.asarray([[0.1, -0.0], [jnp.inf, 1e-45]])}}},
        "half": jnp.asarray(odd),
        "count": jnp.asarray(3, jnp.int32),
    }
    path = tmp_path / "weights.safetensors"
    save_named_weights(path, named_weights(tree))
    found = load_named_weights(path)
    assert sorted(found) == ["count", "encoder/dense_0/kernel", "half"]
    again = weights_like(found, jax.eval_shape(lambda: tree))
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(tree), strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (b.dtype, b.shape, np.asarray(b).tobytes())
    with pytest.raises(UsageError, match=r"missing \['count'\]"):
        weights_like({name: a for name, a in found.items() if name != "count"}, tree)
    with pytest.raises(UsageError, match=r"'count' is float32\[\], expected int32\[\]"):
        weights_like(found | {"count": jnp.asarray(3.0)}, tree)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model"
    params = {"w": jnp.asarray([[1.0, 2.0]])}
    program = exported(lambda params, x: x @ params["w"], params, {"x": jnp.ones((1, 1))})
    write_export(path, {"scale": program}, named_weights(params), source={"of": "a test"})
    return path


def test_a_folder_is_read_back_and_never_written_over(folder):
    model = read_export(folder)
    np.testing.assert_array_equal(model.functions["scale"](jnp.full((2, 1), 3.0)), [[3, 6], [3, 6]])
    assert model.description["source"] == {"of": "a test"}
    versions = {name: model.description[name] for name in ("seqjax", "jax")}
    assert versions == {"seqjax": seqjax.__version__, "jax": jax.__version__}
    assert model.description["functions"]["scale"]["inputs"] == {"x": "float32[B,1]"}
    before = sorted(folder.parent.iterdir())
    with pytest.raises(UsageError, match="nothing is overwritten"):
        write_export(folder, {}, {})
    with pytest.raises(UsageError, match=r"function name '\.\./x'"):
        write_export(folder.parent / "other", {"../x": None}, {})
    with pytest.raises(UsageError, match="cannot be made"):
        write_export(folder.parent / ("x" * 300), {}, {})
    assert sorted(folder.parent.iterdir()) == before


def test_a_folder_needs_none_of_this_project(folder):
    reader = f"""
import sys, importlib.metadata
before = set(sys.modules)
import jax, numpy as np
from safetensors.numpy import load_file
weights = load_file({str(folder / "weights.safetensors")!r})
scale = jax.export.deserialize(bytearray(open({str(folder / "scale.jax_export")!r}, "rb").read()))
print(np.asarray(scale.call(weights, np.full((2, 1), 3.0, np.float32))).tolist())
owners = importlib.metadata.packages_distributions()
print(*sorted({{owner for name in set(sys.modules) - before for owner in owners.get(name.partition(".")[0], ())}}))
"""
    end = subprocess.run([sys.executable, "-c", reader], capture_output=True, text=True, check=True)
    said, needed = end.stdout.splitlines()
    assert said == "[[3.0, 6.0], [3.0, 6.0]]"
    # besides JAX, which asks for neither; the README names both
    assert {"flatbuffers", "safetensors"} <= set(needed.split())
    assert not {"seqjax", "flax", "orbax-checkpoint"} & set(needed.split())


def test_a_disk_that_fills_up_leaves_nothing_and_is_told(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("seqjax.interop.export.folder.write_atomically", full)
    with pytest.raises(UsageError, match=r"model: cannot be made \(No space left on device\)"):
        write_export(tmp_path / "model", {}, {"w": jnp.ones(1)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["export.json", "scale.jax_export", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "a pipe"])
def test_damage_is_told_in_one_line(folder, tmp_path, file, damage):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((tmp_path / file).read_bytes())
    match damage:
        case "flipped":
            content[content.index(b"sha256") if file == "export.json" else len(content) // 2] ^= 1
            (tmp_path / file).write_bytes(content)
        case "cut":
            (tmp_path / file).write_bytes(content[: len(content) // 2])
        case "gone":
            (tmp_path / file).unlink()
        case "a pipe":
            (tmp_path / file).unlink()
            os.mkfifo(tmp_path / file)
    with pytest.raises(DataError, match=r"^[^\n]*(damaged|cannot be read|no readable export\.json)[^\n]*$"):
        read_export(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, bytes(99), b"\x10\0\0\0" * 99])
def test_what_is_no_program_is_refused_in_one_line_whatever_its_hash(folder, tmp_path, content):
    (tmp_path / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes())
    (tmp_path / "scale.jax_export").write_bytes(content)
    described = json.loads((folder / "export.json").read_text())
    described["functions"]["scale"]["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "export.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"^[^\n]*scale\.jax_export: JAX [\w.]+ cannot read it[^\n]*$"):
        read_export(tmp_path)


def safetensors(shape, dtype, length=16):
    header = json.dumps({"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, length]}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(16)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (safetensors([2], "F64"), "'w' is float64, which JAX keeps with jax_enable_x64 alone"),
        (safetensors([2], "I64"), "'w' is int64"),
        (safetensors([2**40, 2**40], "F32"), "cannot be read"),
        (safetensors([2**20], "F32", 2**22), "cannot be read"),
        (safetensors([4], "F99"), "cannot be read"),
        (safetensors([16], "F8_E8M0"), "cannot be read"),
        (safetensors([32], "F4"), "cannot be read"),
        ((2**62).to_bytes(8, "little") + b"{}", "cannot be read"),
    ],
    ids=["float64", "int64", "shape", "offsets", "unknown", "float8", "float4", "header"],
)
def test_weights_that_are_not_what_they_say_are_refused_in_one_line(tmp_path, content, why):
    (tmp_path / "own.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=rf"^[^\n]*{why}[^\n]*$"):
        load_named_weights(tmp_path / "own.safetensors")


def test_descriptions_that_lead_elsewhere_or_are_of_later_versions_are_refused(folder, tmp_path):
    described = json.loads((folder / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps(described | {"format": 2}))
    with pytest.raises(DataError, match="is of format 2, expected 1"):
        read_export(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps({name: described[name] for name in described if name != "format"}))
    with pytest.raises(DataError, match=r"no readable export\.json"):
        read_export(tmp_path)
    described["functions"]["../scale"] = described["functions"].pop("scale")
    (tmp_path / "export.json").write_text(json.dumps(described))
    with pytest.raises(DataError, match=r"no readable export\.json"):
        read_export(tmp_path)
    (tmp_path / "own.safetensors").write_bytes(b"\x10" + b"\0" * 20)
    with pytest.raises(DataError, match=r"^[^\n]*cannot be read as safetensors[^\n]*$"):
        load_named_weights(tmp_path / "own.safetensors")
