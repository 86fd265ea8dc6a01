"""Two games, shared by the tests of adversarial training: one solved by hand, one with all that a step may hold."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from seqjax import adversarial_losses, train
from seqjax.data.batches import batch_at
from seqjax.models.gan import (
    Critic,
    Generator,
    initial_parameters,
    initial_statistics,
    latent_vectors,
    outputs_and_statistics,
)
from seqjax.types import Split

ROWS, FEATURES, LATENT, PACKING, CRITIC_UPDATES = 96, 3, 2, 2, 2


def bilinear(rate=0.1, **options):
    """The critic raises x * y and the generator lowers it, from x = y = 1: they circle around (0, 0)."""

    def loss(sign, other):
        def values(own, batch, key, state, *, axis_name):
            product = sign * own * state.params[other]
            return jnp.broadcast_to(product, batch["x"].shape), train.Aux({})

        return values

    one = jnp.float32(1)
    return train.adversarial(
        {
            "critic": train.Player(loss(-1, "generator"), lambda key: one, optax.sgd(rate)),
            "generator": train.Player(loss(1, "critic"), lambda key: one, optax.sgd(rate)),
        },
        **options,
    )


def split() -> Split:
    rng = np.random.default_rng(3)
    return Split({"x": rng.normal(size=(ROWS, FEATURES)).astype(np.float32) @ rng.normal(size=(3, 3)).astype("f") + 1})


GENERATOR = Generator((6, FEATURES), batch_norm=True)
CRITIC = Critic((6,), pieces=2, spectral_norm=True)


def descent(rate: float) -> optax.GradientTransformation:
    """Gradient descent whose rate is its state, so that a test can stop a player without compiling anew."""

    def update(grads, rate, params):
        return jax.tree.map(lambda grad: -rate * grad, grads), rate

    return optax.GradientTransformation(lambda params: jnp.float32(rate), update)


def network():
    """Packed, two critic updates a step, batch and spectral normalisation, a gradient penalty, a moving average."""
    z, packs = jnp.zeros((2, LATENT)), jnp.zeros((1, PACKING * FEATURES))

    def fakes(params, batch, key, state, axis_name):
        z = latent_vectors(key, batch["index"], LATENT)
        return outputs_and_statistics(GENERATOR, params, state.extra["generator"], z, axis_name=axis_name)

    def critic_loss(params, batch, key, state, *, axis_name):
        made, _ = fakes(state.params["generator"], batch, key, state, axis_name)
        real, fake = adversarial_losses.packed(batch["x"], PACKING), adversarial_losses.packed(made, PACKING)
        logits, statistics = outputs_and_statistics(
            CRITIC, params, state.extra["critic"], jnp.concatenate([real, fake])
        )

        def critic(x):
            return CRITIC.apply({**params, **statistics}, x)

        objective = adversarial_losses.non_saturating
        of_real, of_fake = jnp.split(logits, 2)
        place_key = jax.random.fold_in(key, 1)
        terms = {
            "real": objective.real(of_real),
            "fake": objective.fake(of_fake),
            "penalty": adversarial_losses.gradient_penalty(critic, real, fake, place_key, batch["index"][::PACKING]),
        }
        return sum(terms.values()), train.Aux(terms, {"critic": statistics})

    def generator_loss(params, batch, key, state, *, axis_name):
        made, statistics = fakes(params, batch, key, state, axis_name)
        logits = CRITIC.apply(
            {**state.params["critic"], **state.extra["critic"]}, adversarial_losses.packed(made, PACKING)
        )
        values = adversarial_losses.non_saturating.generator(logits)
        return values, train.Aux({}, {"generator": statistics})

    return train.adversarial(
        {
            "critic": train.Player(
                critic_loss, lambda key: initial_parameters(CRITIC, key, packs), descent(1e-2), CRITIC_UPDATES
            ),
            "generator": train.Player(
                generator_loss,
                lambda key: initial_parameters(GENERATOR, key, z),
                descent(1e-2),
                ema_decay=0.9,
            ),
        },
        extra=lambda params: {
            "generator": initial_statistics(GENERATOR, z),
            "critic": initial_statistics(CRITIC, packs),
        },
    )


def fetch_of(split: Split, batch_size: int, num_shards: int = 1):
    def fetch(source, state, seed, position, shard):
        return batch_at(source, state.key, state.step, batch_size=batch_size, shard=shard, num_shards=num_shards)

    return fetch
