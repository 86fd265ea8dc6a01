"""Drawing sequences from a model of the next symbol, each symbol read again as soon as it is drawn."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int, PyTree

from seqjax import noise
from seqjax.types import Key

Step = Callable[[PyTree[Array], Int[Array, "B"]], tuple[PyTree[Array], Float[Array, "B V"]]]


def continuations(
    step: Step,
    carry: PyTree[Array],
    prompts: Int[Array, "B P"],
    temperature: Float[Array, "B"],
    key: Key,
    *,
    length: int,
) -> Int[Array, "B length"]:
    """`length` symbols after each prompt, drawn from softmax(logits / temperature); one `lax.scan` from end to end.

    step: `(carry, symbols [B]) -> (carry, logits [B V] of what follows)`.
    temperature: 1 draws from the model itself, 0 takes the most likely symbol every time. Each row has its own, and
        draws that no other row has a part in.
    """
    num_prompted = prompts.shape[1]
    rows = jnp.arange(prompts.shape[0])
    given = jnp.pad(prompts.T[1:], ((0, length), (0, 0)))

    def read_and_draw(state: tuple, now: tuple) -> tuple[tuple, Array]:
        carry, symbols = state
        place, following = now
        carry, logits = step(carry, symbols)
        drawn = drawn_from(logits, temperature, jax.random.fold_in(key, place), rows)
        following = jnp.where(place < num_prompted - 1, following, drawn)
        return (carry, following), following

    places = jnp.arange(num_prompted - 1 + length)
    _, symbols = lax.scan(read_and_draw, (carry, prompts[:, 0]), (places, given))
    return symbols[num_prompted - 1 :].T


def drawn_from(
    logits: Float[Array, "B V"], temperature: Float[Array, "B"], key: Key, rows: Int[Array, "B"]
) -> Int[Array, "B"]:
    """One symbol a row from softmax(logits / temperature), by the Gumbel-max rule: at temperature 0 the argmax."""
    gumbel = noise.per_example(lambda k: jax.random.gumbel(k, logits.shape[1:], logits.dtype), key, rows)
    return jnp.argmax(logits + temperature[:, None] * gumbel, axis=-1).astype(rows.dtype)
