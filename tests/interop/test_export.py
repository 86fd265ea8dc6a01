"""Exported models against the library, and folders of them against damage."""

import errno
import functools
import hashlib
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from experiments import character_model, gan, linear_autoencoder, pixel_mnist
from experiments.__main__ import main as experiments
from seqjax.errors import DataError, UsageError
from seqjax.experiment import Options, run
from seqjax.experiment.export import export_of
from seqjax.experiment.loading import Loaded
from seqjax.interop.export import (
    exported,
    load_named_weights,
    named_weights,
    read_export,
    save_named_weights,
    streaming,
    weights_like,
    write_export,
)
from seqjax.models.autoencoder import Autoencoder
from seqjax.models.gan import Generator
from seqjax.models.recurrent import RNN
from seqjax.models.sequence import SequenceModel
from seqjax.models.vae import VAE
from seqjax.recurrent import elman, gru, layer_norm_lstm, lstm, unroll
from seqjax.types import Dataset, Experiment, Split, TrainState


@pytest.fixture(autouse=True)
def sizes_may_be_symbols():
    """The size of a symbolic axis is no `int`, which the checks of the other tests would have it be."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


ROWS, OTHER_ROWS, STEPS, OTHER_STEPS = 3, 5, 7, 4
SEQUENCE = "B, T, ..."


def drawn(*shape):
    return jax.random.normal(jax.random.key(7), shape)


@jax.jit
def shaken(params):
    """No weight at its start, where a bias is zero and a normalisation does nothing."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten([a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)])


def autoencoder():
    model = Autoencoder((6, 5, 2), "elu")
    return model.apply, jax.jit(model.init)(jax.random.key(0), drawn(1, 6)), {"x": drawn(OTHER_ROWS, 6)}, {}


def next_step(cell=lstm, layers=2):
    model = SequenceModel(cell, 4, 5, layers)
    xs = drawn(OTHER_ROWS, STEPS, 3)
    return model.apply, jax.jit(model.init)(jax.random.key(0), xs), {"x": xs}, {"x": SEQUENCE}


def padded():
    apply, params, inputs, axes = next_step()
    lengths = jnp.asarray([4, 0, 1, 3, 2], jnp.int32)
    return lambda p, x, n: apply(p, x, lengths=n), params, inputs | {"lengths": lengths}, axes


def variational(method, *shape):
    model = VAE(6, ((5,), (4,)), (3, 2))
    epsilon = (jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 2)))
    params = jax.jit(model.init)(jax.random.key(0), drawn(1, 6), epsilon)
    return functools.partial(model.apply, method=method, layer=1), params, {"x": drawn(OTHER_ROWS, *shape)}, {}


def generator():
    model = Generator((5, 6), output="sigmoid", batch_norm=True)
    return model.apply, jax.jit(model.init)(jax.random.key(0), drawn(1, 3)), {"z": drawn(OTHER_ROWS, 3)}, {}


CASES = {
    "autoencoder": autoencoder,
    "lstm": next_step,
    "lstm with lengths": padded,
    "vae encodes": lambda: variational("encode", 6),
    "vae decodes": lambda: variational("decode", 2),
    "generator": generator,
}


@pytest.mark.parametrize("case", CASES)
def test_a_program_says_what_the_library_says(case):
    function, params, inputs, axes = CASES[case]()
    params = shaken(params)
    program = exported(function, params, inputs, axes)
    assert program.exported.platforms == ("cpu", "cuda", "tpu")
    again = jax.export.deserialize(program.exported.serialize())
    for rows, steps in ((ROWS, STEPS), (OTHER_ROWS, OTHER_STEPS)):
        given = {name: value[:rows, :steps] if axes.get(name) else value[:rows] for name, value in inputs.items()}
        said = again.call(named_weights(params), *given.values())
        expected = jax.jit(function)(params, *given.values())
        for found, wanted in zip(jax.tree.leaves(said), jax.tree.leaves(expected), strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        assert np.std(jax.tree.leaves(said)[0]) > 0.01


@pytest.mark.parametrize("cell", [gru, functools.partial(lstm, learned_carry=True), layer_norm_lstm])
def test_steps_say_what_the_whole_sequence_says(cell):
    function, params, inputs, _ = next_step(cell)
    params, xs = shaken(params), inputs["x"]
    # compiled before with these very shapes: what was kept of it must not be what is exported
    function = jax.jit(function)
    function(params, xs[:, :1])
    start, step = streaming(function)
    carry = jax.eval_shape(start, params, xs[:, 0])
    weights = named_weights(params)
    started = exported(start, params, {"x": xs[:, 0]}).exported
    stepped = exported(step, params, {"carry": carry, "x": xs[:, 0]}).exported
    whole = function(params, xs)
    step_on = jax.jit(stepped.call)
    for rows in (ROWS, OTHER_ROWS):
        carry = started.call(weights, xs[:rows, 0])
        for t in range(STEPS):
            carry, y = step_on(weights, carry, xs[:rows, t])
            np.testing.assert_allclose(y, whole[:rows, t], rtol=0, atol=1e-6)


def test_eleven_layers_keep_their_order():
    model, xs = RNN(elman, 2, num_layers=11), drawn(2, 2, 2)
    params = shaken(model.init(jax.random.key(0), xs))
    start, step = streaming(model.apply)
    carry, _ = step(params, start(params, xs[:, 0]), xs[:, 0])
    _, y = step(params, jax.tree.map(jnp.asarray, carry), xs[:, 1])  # names sorted, as whatever JAX returns has them
    np.testing.assert_allclose(y, model.apply(params, xs)[:, 1], rtol=0, atol=1e-6)


def test_what_is_no_recurrence_forward_is_not_streamed():
    xs = drawn(2, 3, 4)
    both = RNN(lstm, 4, bidirectional=True)
    with pytest.raises(UsageError, match="runs backward"):
        streaming(both.apply).start(both.init(jax.random.key(0), xs), xs[:, 0])
    with pytest.raises(UsageError, match="found 0 recurrences"):
        streaming(lambda params, xs: xs).start({}, xs[:, 0])


def test_an_unrolled_step_of_ones_own_is_exported():
    def leaky_sum(params, carry, x):
        carry = params["kept"] * carry + x
        return carry, carry

    def sums(params, xs):
        return unroll(leaky_sum, params, xs, jnp.zeros_like(xs[:, 0]))[1]

    xs, params = drawn(OTHER_ROWS, STEPS, 2), {"kept": jnp.asarray(0.5)}
    program = exported(sums, params, {"x": xs}, {"x": SEQUENCE})
    np.testing.assert_allclose(program.exported.call(params, xs[:2, :4]), sums(params, xs[:2, :4]), rtol=0, atol=1e-6)


def test_what_cannot_be_traced_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^cannot be exported for x float32\[B,T\]: [^\n]*$"):
        exported(lambda params, x: x @ params, jnp.ones((3, 2)), {"x": jnp.ones((2, 3))}, {"x": "B, T"})
    with pytest.raises(UsageError, match="'a' twice"):
        named_weights({"a": jnp.ones(1), "params": {"a": jnp.ones(1)}})
    wrong = (
        ({"X": "B, T"}, r"found names \['x', 'X'\]"),
        *(({"x": axes}, "for float32") for axes in ("B", "B, T, D", "(B")),
    )
    for axes, why in wrong:
        with pytest.raises(UsageError, match=why):
            exported(lambda params, x: x, jnp.ones(1), {"x": jnp.ones((2, 3))}, axes)


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


def untrained(module, **fields):
    """A run as `seqjax.load` hands it out, of the first state."""
    config = module.Config(**(module.SMOKE | fields))
    experiment = module.build(config)
    state = experiment.phases[0].learner.init(jax.random.key(0))
    bound = {name: functools.partial(f, state.params) for name, f in experiment.functions.items()}
    return Loaded(bound, state.params, state, config, experiment)


def test_a_gan_is_exported_with_the_statistics_that_it_reads_and_a_key():
    loaded = untrained(gan, batch_norm=True, ema_decay=None)
    export = export_of(loaded)
    assert export.left_out == {}
    assert {n for n in export.weights if n.startswith("extra/")} == {
        "extra/generator/batch_stats/BatchNorm_0/mean",
        "extra/generator/batch_stats/BatchNorm_0/var",
    }
    key, label = jax.random.key(5), jnp.arange(4)
    said = export.programs["generate"].exported.call(export.weights, key, label)
    expected = loaded.functions["generate"](loaded.state.extra, key, label)
    np.testing.assert_allclose(said, expected, rtol=0, atol=1e-6)


def test_a_character_model_is_exported_whole_and_step_by_step():
    loaded = untrained(character_model)
    export = export_of(loaded)
    assert set(export.programs) == {"logits", "logits_start", "logits_step"}
    assert export.programs["logits"].inputs["x"].endswith("[B,T]")
    assert set(export.left_out) == {"sample"}
    x = jnp.asarray(np.asarray(loaded.experiment.data.test.fields["x"])[:2, :6])
    whole = loaded.functions["logits"](x)
    carry = export.programs["logits_start"].exported.call(export.weights, x[:, 0])
    step_on = jax.jit(export.programs["logits_step"].exported.call)
    for t in range(6):
        carry, y = step_on(export.weights, carry, x[:, t])
        np.testing.assert_allclose(y, whole[:, t], rtol=0, atol=1e-6)


def test_a_classifier_of_pixels_is_exported():
    export = export_of(untrained(pixel_mnist))
    assert (set(export.programs), export.left_out) == ({"logits"}, {})


def of_functions(functions, params, x, **extra):
    """A run as `seqjax.load` hands it out, with functions that are none of an experiment."""
    split = Split({"x": x})
    state = TrainState(params, (), jnp.int32(0), jax.random.key(0), extra)
    experiment = Experiment(Dataset("toy", split, split, split, ""), (), None, None, None, functions)
    bound = {name: functools.partial(function, params) for name, function in functions.items()}
    return Loaded(bound, params, state, None, experiment)


def test_what_a_function_reads_of_extra_is_exported_however_it_reads_it():
    functions = {
        "scaled": lambda params, x, extra: x * extra.get("scale", 1.0),
        "shifted": lambda params, x, extra: x + {**extra}["shift"],
        "judged": lambda params, x, extra: -x if "flag" in extra else x,
    }
    x = drawn(4, 3)
    extra = {"scale": jnp.asarray(3.0), "shift": jnp.asarray(2.0), "flag": jnp.ones(()), "key": jax.random.key(0)}
    export = export_of(of_functions(functions, {}, x, **extra))
    assert set(export.weights) == {"extra/scale", "extra/shift"}
    assert export.left_out == {"judged": "the exported program says something else than the library"}
    for name, expected in (("scaled", 3 * x), ("shifted", x + 2)):
        np.testing.assert_allclose(export.programs[name].exported.call(export.weights, x), expected, rtol=1e-6)


def test_outputs_by_name_come_step_by_step_too():
    model, xs = SequenceModel(gru, 4, 5), drawn(4, STEPS, 3)
    params = jax.jit(model.init)(jax.random.key(0), xs)

    def read(params, x):
        logits = model.apply(params, x)
        return {"logits": logits, "surest": logits.argmax(axis=-1)}

    export = export_of(of_functions({"read": read}, params, xs))
    assert export.programs["read_step"].outputs.endswith("logits float32[B,5], 1/surest int32[B]")


def test_codes_are_those_of_encode_with_its_own_arguments():
    functions = {
        "encode": lambda params, x, lengths: jnp.sum(x, axis=1) / lengths[:, None],
        "decode": lambda params, z: z @ params["w"],
    }
    params, x = {"w": drawn(2, 3)}, drawn(4, STEPS, 2)
    export = export_of(of_functions(functions, params, x))
    assert export.left_out == {}
    assert export.programs["decode"].inputs == {"z": "float32[B,2]"}
    functions["encode"] = lambda params, x: x @ params["w"]["missing"]
    functions["twice"] = lambda params, x: 2 * x
    export = export_of(of_functions(functions, params, x))
    assert set(export.programs) == {"twice"}
    assert export.left_out["decode"].startswith("its argument is what encode makes")


def test_what_the_arguments_do_not_tell_is_left_out_with_the_reason():
    functions = {
        "encode": lambda params, x: x @ params["w"],
        "decode": lambda params, code: code @ params["w"].T,
        "sample": lambda params, num_examples: num_examples,
        "traverse": lambda params, x, *rest: x,
        "judge": lambda params, x: x * float(x.sum()),
    }
    params = {"w": drawn(3, 2)}
    export = export_of(of_functions(functions, params, drawn(4, 3)))
    assert {name: program.inputs for name, program in export.programs.items()} == {
        "encode": {"x": "float32[B,3]"},
        "decode": {"code": "float32[B,2]"},
    }
    assert export.left_out.pop("judge").startswith("cannot be exported for x float32[B,3]: ")
    assert export.left_out == {
        "sample": "its argument 'num_examples' is none that is known by its name",
        "traverse": "it has arguments without names",
    }
    with pytest.raises(UsageError, match="nothing of this run can be exported"):
        export_of(of_functions({"judge": functions["judge"]}, params, drawn(4, 3)))


def test_the_command_exports_a_run(tmp_path, capsys):
    config = linear_autoencoder.Config(steps=20, chapter_steps=20, batch_size=64)
    run(config, linear_autoencoder.build, Options(run_dir=tmp_path / "run", seeds=2, devices=1))
    capsys.readouterr()
    arguments = ["export", str(tmp_path / "run"), str(tmp_path / "out")]
    assert experiments([*arguments, "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    assert "encode(weights; x " in out
    assert err == ""
    import seqjax

    loaded = seqjax.load(tmp_path / "run", seed=1)
    model, x = read_export(tmp_path / "out"), loaded.experiment.data.test.fields["x"][:9]
    np.testing.assert_allclose(model.functions["encode"](x), loaded.functions["encode"](x), rtol=0, atol=1e-6)
    assert model.description["source"]["seed"] == 1
    assert model.description["source"]["config"]["steps"] == 20
    for wrong, word in (
        (arguments, "nothing is overwritten"),
        (["export", str(tmp_path), str(tmp_path / "new")], "no readable config.json"),
        ([*arguments[:2], str(tmp_path / "new"), "--seed", "7"], "seed 7"),
        (["export", "one"], "--help tells"),
    ):
        assert experiments(wrong) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") <= 2
        assert word in err
    assert not (tmp_path / "new").exists()
