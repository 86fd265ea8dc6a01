"""Images beside trivial samplers: what each of them is, and what is said of it."""

import jax
import numpy as np
import pytest
from scipy.stats import norm

from seqjax.data.load import load
from seqjax.evaluate.image_samples import class_divergence, image_judge, trivial_samples
from seqjax.evaluate.reconstruction import values_of


def test_what_the_trivial_samplers_make():
    data = load("digits")
    x = values_of(data.train)
    samples = trivial_samples(data, 4000, jax.random.key(0))
    assert {len(images) for name, images in samples.items() if name != "real"} == {4000}
    assert all((images >= 0).all() and (images <= 1).all() for images in samples.values())
    known = {row.tobytes() for row in x}
    assert all(row.tobytes() in known for row in samples["train"])
    assert not any(row.tobytes() in known for row in samples["gaussian"])
    # four standard errors of the mean of 4,000 values in [0, 1] are at most .032
    for name in ("pixels", "train"):
        np.testing.assert_allclose(samples[name].mean(axis=0), x.mean(axis=0), atol=0.032)
    mean, stddev = x.mean(axis=0), np.maximum(x.std(axis=0, ddof=1), 1e-9)
    low, high = -mean / stddev, (1 - mean) / stddev
    inside = mean * (norm.cdf(high) - norm.cdf(low)) + stddev * (norm.pdf(low) - norm.pdf(high))
    np.testing.assert_allclose(samples["gaussian"].mean(axis=0), inside + norm.sf(high), atol=0.032)
    covariance, expected = np.cov(samples["pixels"].T), np.cov(x.T)
    np.testing.assert_allclose(np.diag(covariance), np.diag(expected), atol=0.02)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.02 < np.abs(expected).max()
    again = trivial_samples(data, 4000, jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, samples, again)


def test_planted_collapse_and_copies_are_told():
    data = load("digits")
    judge = image_judge(data)
    count = len(judge.reference)
    samples = trivial_samples(data, count, jax.random.key(0))
    samples["collapsed"] = np.repeat(samples["real"][:1], count, axis=0)
    found = {k: v for name, images in samples.items() for k, v in judge.measures(name, images).items()}
    for measure in ("frechet_distance", "kernel_distance", "sliced_wasserstein"):
        values = {name: found[f"{name}/{measure}"] for name in samples}
        assert values["real"] < values["gaussian"] < values["collapsed"]
    assert found["collapsed/coverage"] < 0.1 < found["real/coverage"]
    assert found["collapsed/class_kl"] > 1 > 0.2 > found["real/class_kl"]
    assert found["train/copy_ratio"] == 0
    assert found["real/copy_ratio"] == pytest.approx(1)
    classes = judge.classes(samples["train"])
    assert (classes == judge.classes(samples["train"].astype(np.float32))).all()


def test_class_divergence_by_hand():
    found, expected = np.asarray([0, 0, 1]), np.asarray([0, 1, 2])
    p, q = np.asarray([3, 2, 1]) / 6, np.asarray([2, 2, 2]) / 6
    assert class_divergence(found, expected) == pytest.approx(float((p * np.log(p / q)).sum()))
    assert class_divergence(expected, expected) == 0
