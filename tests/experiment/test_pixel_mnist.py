"""Images pixel by pixel: known answers, the one permutation, images of users, and a run that beats the majority."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import command
from short_runs import stopped_and_continued

from experiments import pixel_mnist
from seqjax.experiment.options import parse

pytestmark = pytest.mark.usefixtures("quick_compilation")

SMALL = {"hidden_size": 16, "learning_rate": 2e-2, "steps": 80, "chapter_steps": 20, "batch_size": 32, "cell": "gru"}
IMAGES, LABELS = np.random.default_rng(0).random((24, 9)).astype(np.float32), np.arange(24) % 2
PROTOCOL = (
    "--dataset mnist --cell lstm --hidden-size 100 --identity-start --no-time-scales --optimizer rmsprop"
    " --schedule constant --learning-rate 1e-3 --batch-size 100 --steps 110000 --chapter-steps 550"
)


@pytest.fixture(scope="module")
def small_images(tmp_path_factory):
    """Images of 3 x 3 pixels, each class once in the first two rows."""
    path = tmp_path_factory.mktemp("images") / "small.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:7], y_test=LABELS[:7])
    return str(path)


@pytest.mark.debug
def test_stopped_and_continued_ends_as_unbroken_and_better_than_the_majority(tmp_path):
    measured, figures = stopped_and_continued(pixel_mnist.build(pixel_mnist.Config(**SMALL)), tmp_path)
    assert measured["gru/nats"] < 0.95 * measured["majority/nats"]
    assert measured["gru/accuracy"] > measured["majority/accuracy"] + 0.1
    assert measured["logistic/accuracy"] > 0.9
    assert set(figures) == {"gradient_flow", "confusion"}
    written = {text.get_position(): int(text.get_text()) for text in figures["confusion"].axes[0].texts}
    right = sum(share for (column, row), share in written.items() if column == row) / 10
    assert right == pytest.approx(100 * measured["gru/accuracy"], abs=3)  # the classes are about equally frequent


def test_a_silent_readout_costs_the_logarithm_of_the_classes(small_images):
    experiment = pixel_mnist.build(pixel_mnist.Config(**SMALL, dataset=small_images))
    start = experiment.phases[0].learner.init(jax.random.key(0))
    silent = start._replace(params=jax.tree.map(jnp.zeros_like, start.params))
    measured = experiment.evaluate(silent, experiment.data, jax.random.key(0))
    assert measured["gru/nats"] == pytest.approx(np.log(2), rel=1e-6)
    assert measured["gru/accuracy"] == 4 / 7  # all are said to be of class 0
    cost = experiment.validate(silent, experiment.data.validation, jax.random.key(0))
    assert float(cost) == pytest.approx(np.log(2), rel=1e-6)


def test_permuted_reads_the_same_pixels_in_one_pinned_order(small_images):
    order = pixel_mnist.permutation(9)
    assert order.tolist() == [7, 2, 1, 4, 8, 6, 3, 0, 5]
    assert pixel_mnist.permutation(784)[:4].tolist() == [693, 85, 647, 392]
    plain, permuted = (
        pixel_mnist.build(pixel_mnist.Config(**SMALL, dataset=small_images, permuted=p)) for p in (False, True)
    )
    params = plain.phases[0].learner.init(jax.random.key(0)).params
    np.testing.assert_array_equal(
        permuted.functions["logits"](params, IMAGES), plain.functions["logits"](params, IMAGES[:, order])
    )
    assert not np.array_equal(permuted.functions["logits"](params, IMAGES), plain.functions["logits"](params, IMAGES))
    np.testing.assert_array_equal(
        plain.functions["logits"](params, np.uint8([[0, 51, 255] * 3])),
        plain.functions["logits"](params, np.float32([[0, 51, 255] * 3]) * np.float32(1 / 255)),
    )


def test_the_published_protocol_is_a_command(small_images):
    config, _ = parse(pixel_mnist.Config, "", "pixel_mnist", PROTOCOL.split())
    experiment = pixel_mnist.build(pixel_mnist.dataclasses.replace(config, dataset=small_images))
    (phase,) = experiment.phases
    assert (phase.steps, phase.batch_size) == (200 * 550, 100)
    state = phase.learner.init(jax.random.key(0))
    layer = state.params["params"]["recurrence"]["layer_0_forward"]
    np.testing.assert_array_equal(layer["recurrent_kernel"], np.tile(np.eye(100), 4))
    for gate in np.split(np.asarray(layer["input_kernel"]), 4, axis=1):
        assert np.linalg.norm(gate) == pytest.approx(1, rel=1e-5)
    np.testing.assert_array_equal(layer["bias"], np.repeat([0, 1, 0, 0], 100))
    # RMSProp's first step is the rate over sqrt(.1) for every parameter whose gradient is not tiny, whatever its size
    batch = {"x": jnp.asarray(IMAGES), "label": jnp.asarray(LABELS), "index": jnp.arange(24)}
    after, _ = jax.jit(phase.learner.step)(state, batch)
    moved = np.abs(after.params["params"]["readout"]["bias"] - state.params["params"]["readout"]["bias"])
    np.testing.assert_allclose(moved, 1e-3 / np.sqrt(0.1), rtol=1e-3)


def test_time_scales_reach_to_the_number_of_pixels(small_images):
    experiment = pixel_mnist.build(pixel_mnist.Config(dataset=small_images, hidden_size=100))
    layer = experiment.phases[0].learner.init(jax.random.key(0)).params["params"]["recurrence"]["layer_0_forward"]
    forget = np.asarray(layer["bias"])[100:200]
    assert 0 <= forget.min() < 0.3
    assert np.log(7) < forget.max() <= np.log(8)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--hidden-size", "0"], ["hidden_size=0"]),
        (["--num-layers", "0"], ["num_layers=0"]),
        (["--dropout", "1"], ["dropout=1"]),
        (["--dataset", "unlabelled.npy"], ["unlabelled has no labels"]),
        (["--dataset", "gap.npz"], ["gap: labels [0 2], in the training split [0 2]", "expected 0, 1, 2, ..."]),
        (["--dataset", "unseen.npz"], ["unseen: labels [0 1 2], in the training split [0 1]"]),
    ],
)
def test_bad_arguments(capsys, tmp_path, monkeypatch, args, words):
    monkeypatch.chdir(tmp_path)
    np.save("unlabelled.npy", IMAGES)
    np.savez("gap.npz", x=IMAGES, y=2 * LABELS)
    np.savez("unseen.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:1], y_test=[2])
    code, _, err = command(capsys, "--run-dir", tmp_path / "run", *args, "--devices", "1", module=pixel_mnist)
    assert code == 2
    assert len(err.strip().splitlines()) <= 2
    for word in words:
        assert word in err
