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

FORMS = {}


def arguments(run, function, asked):
    """Other rows than the export has seen, as NumPy's, by the names that it asks for; of one long series other steps."""
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
