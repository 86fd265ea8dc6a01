"""What of a run is exported, what is left out and why, and the command."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_examples import drawn, untrained

from experiments import character_model, gan, linear_autoencoder, pixel_mnist
from experiments.__main__ import main as experiments
from seqjax.errors import UsageError
from seqjax.experiment import Options, run
from seqjax.experiment.export import export_of
from seqjax.experiment.loading import Loaded
from seqjax.interop.export import read_export
from seqjax.models.sequence import SequenceModel
from seqjax.recurrent import gru
from seqjax.types import Dataset, Experiment, Split, TrainState

STEPS = 7


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
    assert "it has steps that cannot be traced" in export.left_out["sample"]
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
        (["export", str(tmp_path / "gone"), str(tmp_path / "new")], "gone: no such directory"),
        ([*arguments[:2], str(tmp_path / "new"), "--seed", "7"], "seed 7"),
        (["export", "one"], "--help tells"),
    ):
        assert experiments(wrong) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") <= 2
        assert word in err
    assert not (tmp_path / "new").exists()
