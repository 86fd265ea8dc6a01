"""Run as a program of its own, since float64 is for a whole process: 300 steps on eight devices against one.

Prints for each experiment and driver the greatest |a - b| / max(1, |b|) over all parameters, as JSON.
"""

import json
import sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
sys.path.insert(0, str(Path(__file__).parent.parent))

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import on_devices  # noqa: E402
from test_topology import CONFIGS  # noqa: E402

from seqjax.data.batches import batch_at  # noqa: E402
from seqjax.experiment.source import data_key  # noqa: E402

STEPS = 300


def in_float64(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if leaf.dtype == jnp.float32 else leaf, tree)


def trained(phase, split, states, on):
    def fetch_of(num_shards):
        def fetch(source, state, seed, position, shard):
            make, place = phase.batch_at or batch_at, {"shard": shard, "num_shards": num_shards}
            batch = make(source, data_key(state.key), state.step, batch_size=phase.batch_size, **place)
            return in_float64(batch)

        return fetch

    states, _ = on_devices.stepped(phase.learner, on, fetch_of, split, states, steps=STEPS)
    assert all(leaf.dtype != jnp.float32 for leaf in jax.tree.leaves(states.params))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(states.params)]


def difference(found, expected):
    return max(float((np.abs(a - b) / np.maximum(1, np.abs(b))).max()) for a, b in zip(found, expected, strict=True))


def main() -> None:
    found = {}
    for module, config in CONFIGS.items():
        experiment = module.build(config)
        phase, split = experiment.phases[0], jax.tree.map(np.asarray, experiment.data.train)
        states = jax.tree.map(lambda leaf: leaf[None], in_float64(jax.jit(phase.learner.init)(jax.random.key(0))))
        one = trained(phase, split, states, on_devices.layout("jit", 1))
        found[module.__name__] = {
            driver: difference(trained(phase, split, states, on_devices.layout(driver, 8)), one)
            for driver in ("jit", "pmap", "shard_map")
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
