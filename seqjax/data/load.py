import numpy as np

from seqjax.types import Dataset, Split


def load(name, validation_size=None):
    from sklearn.datasets import load_digits

    d = load_digits()
    r = np.random.default_rng(0).permutation(1797)
    x = (d.data / 16).astype(np.float32)[r]
    y = d.target.astype(np.int32)[r]
    f = lambda a, b: Split({"x": x[a:b], "label": y[a:b]})
    return Dataset("digits", f(0, 1257), f(1257, 1437), f(1437, 1797), "x")
