"""A made-up series of a turning wheel that goes wrong in four ways, of which it is known where."""

import numpy as np

from seqjax.errors import require

KINDS = ("spike", "level shift", "changed frequency", "flattened")  # numbered from 1 on
SLOT = 150  # steps in which one of them begins
EACH = 4  # of a kind


def faults(num_steps: int = 12_000) -> dict[str, np.ndarray]:
    """A made-up series `x [T 2]`, and `label [T]`: 0 where it is as always, else the number of what goes wrong.

    A wheel turns at a speed that wanders, about once in 25 steps; one channel is its height, the other a pulse each
    time it comes round, both under white noise. The last fifth has 16 faults, `EACH` of each of the `KINDS`, one in
    each stretch of `SLOT` steps: a spike of one step in one channel, and for 20 to 40 steps one channel's level a
    little shifted, the wheel faster or slower by two fifths, or one channel stuck at the value it had.
    """
    # a legacy generator because it is frozen for good
    rng = np.random.RandomState(0)
    first = num_steps - num_steps // 5
    num_slots = len(KINDS) * EACH
    require(num_steps - first >= num_slots * SLOT, "num_steps", num_steps, f"at least {5 * num_slots * SLOT}")
    label, rate = np.zeros(num_steps, np.int32), np.ones(num_steps)
    places = []
    for slot, kind in enumerate(rng.permutation(np.repeat(np.arange(1, len(KINDS) + 1), EACH))):
        length = 1 if kind == 1 else rng.randint(20, 41)
        start = first + slot * SLOT + rng.randint(50, SLOT - 50)
        places.append((kind, slice(start, start + length), rng.randint(2), rng.choice([-1, 1])))
        label[start : start + length] = kind
    for kind, steps, _, sign in places:
        if kind == 3:
            rate[steps] += 0.4 * sign
    wander = np.convolve(rng.standard_normal(num_steps + 199), np.ones(200) / np.sqrt(200), mode="valid")
    turned = 2 * np.pi / 25 * np.cumsum(rate * (1 + 0.1 * np.tanh(wander)))
    x = np.stack([np.sin(turned), np.exp(4 * np.cos(turned) - 4)], axis=1)
    x += 0.1 * rng.standard_normal(x.shape)
    for kind, steps, channel, sign in places:
        if kind in (1, 2):
            x[steps, channel] += sign * (1.0 if kind == 1 else 0.4)
        elif kind == 4:
            x[steps, channel] = x[steps.start - 1, channel]
    return {"x": x, "label": label}
