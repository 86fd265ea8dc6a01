"""The recurrences written a second time: NumPy, float64, one example, one step, one gate at a time."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def blocks(params, names):
    """The kernels and bias of each gate, cut out of the arrays that hold them side by side."""
    size = params["bias"].shape[0] // len(names)
    return {
        name: tuple(
            params[kind][..., k * size : (k + 1) * size] for kind in ("input_kernel", "recurrent_kernel", "bias")
        )
        for k, name in enumerate(names)
    }


def elman_steps(params, xs, h, activation):
    for x in xs:
        h = activation(x @ params["input_kernel"] + h @ params["recurrent_kernel"] + params["bias"])
        yield h, (h,)


def lstm_steps(params, xs, h, c):
    gate = blocks(params, "ifgo")
    for x in xs:
        z = {name: x @ W + h @ U + b for name, (W, U, b) in gate.items()}
        c = sigmoid(z["f"]) * c + sigmoid(z["i"]) * np.tanh(z["g"])
        h = sigmoid(z["o"]) * np.tanh(c)
        if "projection" in params:
            h = h @ params["projection"]
        yield h, (h, c)


def layer_norm(a, scale, epsilon=1e-5):
    return scale * (a - np.mean(a)) / np.sqrt(np.var(a) + epsilon)


def layer_norm_lstm_steps(params, xs, h, c):
    for x in xs:
        z = layer_norm(x @ params["input_kernel"], params["input_scale"]) + params["bias"]
        z = z + layer_norm(h @ params["recurrent_kernel"], params["recurrent_scale"])
        i, f, g, o = np.split(z, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(layer_norm(c, params["memory_scale"]) + params["memory_bias"])
        yield h, (h, c)


def gru_steps(params, xs, h):
    gate = blocks(params, "rzn")
    for x in xs:
        (Wr, Ur, br), (Wz, Uz, bz), (Wn, Un, bn) = (gate[name] for name in "rzn")
        r = sigmoid(x @ Wr + h @ Ur + br)
        z = sigmoid(x @ Wz + h @ Uz + bz)
        if "candidate_bias" in params:
            n = np.tanh(x @ Wn + bn + r * (h @ Un + params["candidate_bias"]))
        else:
            n = np.tanh(x @ Wn + bn + (r * h) @ Un)
        h = (1 - z) * n + z * h
        yield h, (h,)
