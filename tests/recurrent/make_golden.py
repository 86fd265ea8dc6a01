"""Writes `golden_torch.npz` and `golden_keras.npz`: what PyTorch and Keras compute, for tests that need neither.

    python tests/recurrent/make_golden.py torch
    KERAS_BACKEND=torch python tests/recurrent/make_golden.py keras

Each case holds inputs, lengths, weights, first states, the weights of a linear loss on outputs and last states, and
the outputs, last states and gradients that follow.
"""

import json
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
BATCH, STEPS, INPUT, HIDDEN, PROJECTION = 3, 7, 4, 5, 3
LENGTHS = np.array([7, 3, 5])
DEPTHS = [(1, False), (2, True), (3, False)]


def normal(rng, *shape, scale=1.0):
    return (scale * rng.standard_normal(shape)).astype(np.float32)


def flat(arrays):
    return np.concatenate([np.asarray(a).ravel() for a in arrays])


def torch_cases():
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    makers = {
        "elman_tanh": lambda **k: torch.nn.RNN(INPUT, HIDDEN, nonlinearity="tanh", **k),
        "elman_relu": lambda **k: torch.nn.RNN(INPUT, HIDDEN, nonlinearity="relu", **k),
        "lstm": lambda **k: torch.nn.LSTM(INPUT, HIDDEN, **k),
        "lstm_projection": lambda **k: torch.nn.LSTM(INPUT, HIDDEN, proj_size=PROJECTION, **k),
        "gru": lambda **k: torch.nn.GRU(INPUT, HIDDEN, **k),
    }
    rng = np.random.default_rng(0)
    for kind, make in makers.items():
        for depth, both in DEPTHS:
            module = make(num_layers=depth, bidirectional=both, batch_first=True)
            for value in module.parameters():
                value.data = torch.tensor(normal(rng, *value.shape, scale=0.5))
            width = PROJECTION if "projection" in kind else HIDDEN
            rows = depth * (2 if both else 1)
            sizes = [width, HIDDEN] if "lstm" in kind else [width]
            x = torch.tensor(normal(rng, BATCH, STEPS, INPUT), requires_grad=True)
            first = [torch.tensor(normal(rng, rows, BATCH, size), requires_grad=True) for size in sizes]
            packed = pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
            y, last = module(packed, tuple(first) if len(first) > 1 else first[0])
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=STEPS)
            last = list(last) if isinstance(last, tuple) else [last]
            on_y, on_last = normal(rng, *y.shape), [normal(rng, *a.shape) for a in last]
            loss = (y * torch.tensor(on_y)).sum() + sum(
                (a * torch.tensor(w)).sum() for a, w in zip(last, on_last, strict=True)
            )
            loss.backward()
            names = dict(module.named_parameters())
            yield (
                f"{kind}_{depth}{'_both' if both else ''}",
                {
                    "spec": json.dumps({name: list(value.shape) for name, value in names.items()}),
                    "x": x.detach().numpy(),
                    "weights": flat(value.detach() for value in names.values()),
                    "first": flat(a.detach() for a in first),
                    "on_y": on_y,
                    "on_last": flat(on_last),
                    "y": y.detach().numpy(),
                    "last": flat(a.detach() for a in last),
                    "d_x": x.grad.numpy(),
                    "d_weights": flat(value.grad for value in names.values()),
                    "d_first": flat(a.grad for a in first),
                },
            )


def keras_cases():
    import keras
    import torch

    layers = keras.layers
    makers = {
        "elman_tanh": lambda **k: layers.SimpleRNN(HIDDEN, **k),
        "lstm": lambda **k: layers.LSTM(HIDDEN, **k),
        "gru": lambda **k: layers.GRU(HIDDEN, **k),
        "gru_reset_before": lambda **k: layers.GRU(HIDDEN, reset_after=False, **k),
    }
    rng = np.random.default_rng(1)
    mask = torch.tensor(np.arange(STEPS)[None] < LENGTHS[:, None])
    for kind, make in makers.items():
        for depth, both in DEPTHS[:2]:
            stack = [make(return_sequences=True) for _ in range(depth)]
            stack = [layers.Bidirectional(layer) for layer in stack] if both else stack
            x = torch.tensor(normal(rng, BATCH, STEPS, INPUT), requires_grad=True)

            def run(x, stack=stack):
                for layer in stack:
                    x = layer(x, mask=mask)
                return x

            run(x)
            variables = [v for layer in stack for v in layer.trainable_variables]
            for v in variables:
                v.assign(normal(rng, *v.shape, scale=0.5))
            y = run(x)
            on_y = normal(rng, *y.shape) * mask.numpy()[..., None]
            values = [v.value for v in variables]
            d_x, *d_weights = torch.autograd.grad((y * torch.tensor(on_y)).sum(), [x, *values])
            yield (
                f"{kind}_{depth}{'_both' if both else ''}",
                {
                    "spec": json.dumps([list(v.shape) for v in variables]),
                    "x": x.detach().numpy(),
                    "weights": flat(v.detach() for v in values),
                    "on_y": on_y,
                    "y": y.detach().numpy() * mask.numpy()[..., None],
                    "d_x": d_x.numpy(),
                    "d_weights": flat(d_weights),
                },
            )


if __name__ == "__main__":
    cases = {"torch": torch_cases, "keras": keras_cases}[sys.argv[1]]()
    arrays = {f"{case}/{name}": array for case, fields in cases for name, array in fields.items()}
    np.savez_compressed(HERE / f"golden_{sys.argv[1]}.npz", lengths=LENGTHS, **arrays)
