"""The speed program of training loops on a few rows: each loop trains, and the table says what the receipt says."""

import json
import math

import jax
import jax.numpy as jnp
import pytest
from jax.extend import core as jex

from experiments import autoencoder, gan, vae
from results.speed import training


@pytest.mark.parametrize("loop", training.LOOPS)
def test_a_few_rows(loop, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)  # peers are not part of the suite
    training.main(["--loops", loop, "--rows", "600", "--repetitions", "2", "--output", str(tmp_path)])
    receipt = json.loads((tmp_path / "training.json").read_text())
    (entry,) = receipt["entries"]
    assert list(entry["versions"]) == ["seqjax", "seqjax again"]
    text = (tmp_path / "training.md").read_text()
    assert text in capsys.readouterr().out
    for name, row in entry["versions"].items():
        assert row["compile_s"] > row["median_s"] > 0
        assert f"| {loop} | {training.BATCH_SIZES[loop]} | {name} | {row['median_s']:.3f} |" in text


def product_operations(jaxpr: jex.Jaxpr) -> int:
    """Of all matrix products in a program without loops."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            inner = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(eqn.outvars[0].aval.shape)
        inner = [p for p in eqn.params.values() if isinstance(p, jex.Jaxpr | jex.ClosedJaxpr)]
        total += sum(product_operations(getattr(p, "jaxpr", p)) for p in inner)
    return total


@pytest.mark.parametrize(("loop", "module"), [("autoencoder", autoencoder), ("vae", vae), ("gan", gan)])
def test_the_products_counted_are_those_of_a_step(loop, module, tmp_path):
    path = training.images_file(tmp_path / "images.npz", 600)
    (phase,) = module.build(training.config_of(loop, path, 2)).phases
    size = training.BATCH_SIZES[loop]
    batch = {"x": jnp.zeros((size, 784)), "label": jnp.zeros(size, int), "index": jnp.zeros(size, int)}
    state = jax.eval_shape(phase.learner.init, jax.random.key(0))
    made = jax.make_jaxpr(lambda state: phase.learner.step(state, batch))(state)
    assert product_operations(made.jaxpr) == size * training.product_flops(loop)
