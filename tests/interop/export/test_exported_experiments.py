"""The functions of every experiment, exported, written, read back and held against the library on other rows."""

import importlib
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from export_examples import shaken, untrained

from experiments import hidden_size
from experiments.__main__ import names
from seqjax.errors import UsageError
from seqjax.experiment.export import export_of
from seqjax.experiment.takes import Taken
from seqjax.interop.export import read_export, write_export
from seqjax.interop.export.program import plain

pytestmark = pytest.mark.usefixtures("quick_compilation")

FORMS = [
    ("adding", {}, {"predict": "x float32[B,T,2]"}),
    ("anomaly", {}, {"score": "x float32[B,64]; key key<fry>[]"}),
    ("autoencoder", {}, {"encode": "x float32[B,64]", "decode": "code float32[B,10]"}),
    ("autoencoder_vs_rnn", {}, {"encode": "x float32[B,T,2]; length int32[B]"}),
    (
        "character_model",
        {},
        {
            "logits": "x int32[B,T]",
            "logits_start": "x int32[B]",
            "logits_step": "carry layer_0/c float32[B,48], layer_0/h float32[B,48]; x int32[B]",
        },
    ),
    (
        "conditional_vae",
        {},
        {
            "encode": "x uint8[B,64]; condition float32[B,10]",
            "decode": "z float32[B,16]; condition float32[B,10]",
            "reconstruct": "x uint8[B,64]; condition float32[B,10]",
            "generate": "key key<fry>[]; label int32[B]",
        },
    ),
    (
        "copy_memory",
        {},
        {
            "logits": "x int32[B,T]",
            "logits_start": "x int32[B]",
            "logits_step": "carry layer_0/c float32[B,32], layer_0/h float32[B,32]; x int32[B]",
        },
    ),
    ("deep_clustering", {}, {"encode": "x float32[B,64]", "assign": "x float32[B,64]"}),
    ("forecast", {}, {"predict": "x float32[B,T,4]", "predict_standardised": "x float32[B,T,4]"}),
    ("gan", {}, {"generate": "key key<fry>[]; label int32[B]"}),
    ("gan_mixture", {}, {"generate": "key key<fry>[]; index int32[B]"}),
    ("iwae", {}, {"encode": "x uint8[B,64]", "decode": "z float32[B,16]", "reconstruct": "x uint8[B,64]"}),
    ("linear_autoencoder", {}, {"encode": "x float32[B,64]"}),
    ("multitask", {}, {"encode": "x float32[B,64]", "classify": "x float32[B,64]", "assign": "x float32[B,64]"}),
    ("music", {}, {"logits": "x bool[B,T,88]; lengths int32[B]"}),
    ("pca_features", {}, {"features": "x float32[B,64]", "classify": "x float32[B,64]", "encode": "x float32[B,64]"}),
    ("pixel_mnist", {}, {"logits": "x float32[B,T]"}),
    ("recurrent_gan", {}, {"generate": "key key<fry>[]; index int32[B]"}),
    ("sequence_autoencoder", {}, {"encode": "x float32[B,T,2]; length int32[B]"}),
    ("sequence_clustering", {}, {"encode": "x float32[B,T,2]; length int32[B]"}),
    (
        "sequence_vae",
        {},
        {
            "encode": "x bool[B,T,88]; lengths int32[B]",
            "reconstruct": "x bool[B,T,88]; lengths int32[B]; key key<fry>[]",
        },
    ),
    ("series_anomaly", {}, {"score": "x float32[T + 15,2]"}),
    (
        "vade",
        {},
        {
            "encode": "x float32[B,64]",
            "assign": "x float32[B,64]",
            "decode": "z float32[B,10]",
            "sample": "key key<fry>[]; component int32[B]",
        },
    ),
    ("vae", {}, {"encode": "x uint8[B,64]", "decode": "z float32[B,16]", "reconstruct": "x uint8[B,64]"}),
    (
        "pca_features",
        {"features": ("standardised", "pca", "whitened", "centroids")},
        {"features": "x float32[B,64]", "classify": "x float32[B,64]", "encode": "x float32[B,64]"},
    ),
    (
        "anomaly",
        {"scorer": "vae", "likelihood": "gaussian"},
        {"score": "x float32[B,64]; key key<fry>[]"},
    ),
    # contrast in float32 for float64: a likelihood would magnify its rounding, and has a case of its own above
    ("anomaly", {"contrast": True}, {"score": "x float32[B,64]; key key<fry>[]"}),
    ("anomaly", {"scorer": "deep_svdd"}, {"score": "x float32[B,64]; key key<fry>[]"}),
    (
        "deep_clustering",
        {"dataset": "events"},
        {"encode": "x float32[B,T,2]; length int32[B]", "assign": "x float32[B,T,2]; length int32[B]"},
    ),
    ("sequence_clustering", {"encoder": "autoencoder"}, {"encode": "x float32[B,96,2]; length int32[B]"}),
    ("gan", {"condition": "concat"}, {"generate": "key key<fry>[]; label int32[B]"}),
]


def arguments(run, function, asked):
    """Other rows than the export has seen, as NumPy's, by the names it asks for; of one long series other steps."""
    taken = getattr(function, "takes", Taken({}, {}))
    fields = {"x": run.experiment.data.test.fields["x"]} | taken.fields
    found = {"key": jax.random.key(5), "label": np.arange(5) % 3, "index": np.asarray([3, 0, 7, 1, 900])}
    for name in asked:
        if name in fields:
            found[name] = np.asarray(fields[name])[:-3] if name in taken.axes else np.asarray(fields[name])[-5:]
    if "lengths" in asked:
        found["lengths"] = np.arange(5) + found["x"].shape[1] - 4
    if {"z", "code"} & set(asked):
        encode = run.experiment.functions["encode"]
        known = [name for name in inspect.signature(encode).parameters if name in fields]
        found["z"] = found["code"] = np.asarray(said(run, "encode", arguments(run, encode, known)))
    return {name: found[name] for name in asked}


def said(run, name, given):
    """What the library says."""
    function = run.experiment.functions[name]
    given = given | {"extra": run.state.extra}
    return function(run.params, **{n: given[n] for n in inspect.signature(function).parameters if n in given})


@pytest.mark.parametrize(
    ("name", "fields", "forms"), FORMS, ids=[f"{name} {fields or ''}" for name, fields, _ in FORMS]
)
def test_an_experiments_functions_are_exported(name, fields, forms, tmp_path):
    run = untrained(importlib.import_module(f"experiments.{name}"), **fields)
    run = run._replace(params=shaken(run.params), state=run.state._replace(params=shaken(run.state.params)))
    export = export_of(run)
    assert {n: "; ".join(map(" ".join, program.inputs.items())) for n, program in export.programs.items()} == forms
    write_export(tmp_path / "model", export.programs, export.weights)
    model = read_export(tmp_path / "model")
    for function in set(forms) & set(run.experiment.functions):
        given = arguments(run, run.experiment.functions[function], export.programs[function].inputs)
        found = jax.tree.leaves(model.functions[function](*map(jnp.asarray, given.values())))
        wanted = jax.tree.leaves(plain(said(run, function, given)))
        for own, theirs in zip(found, wanted, strict=True):
            assert np.std(np.asarray(theirs, np.float64)) > 1e-3
            np.testing.assert_allclose(own, theirs, rtol=1e-6, atol=1e-6)


def test_every_experiment_is_among_them():
    assert {name for name, _, _ in FORMS} == set(names()) - {"hidden_size"}


def test_an_experiment_without_functions_says_so():
    with pytest.raises(UsageError, match=r"^nothing of this run can be exported \(it has no functions\)\.$"):
        export_of(untrained(hidden_size))
