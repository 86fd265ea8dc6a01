"""Inputs, weights and runs that the tests of exports share."""

import functools

import jax

from seqjax.experiment.loading import Loaded


def drawn(*shape):
    return jax.random.normal(jax.random.key(7), shape)


@jax.jit
def shaken(params):
    """No weight at its start, where a bias is zero and a normalisation does nothing."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten([a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)])


def untrained(module, **fields):
    """A run as `seqjax.load` hands it out, of the first state of its last phase."""
    config = module.Config(**(module.SMOKE | fields))
    experiment = module.build(config)
    state = jax.jit(experiment.phases[-1].learner.init)(jax.random.key(0))
    bound = {name: functools.partial(f, state.params) for name, f in experiment.functions.items()}
    return Loaded(bound, state.params, state, config, experiment)
