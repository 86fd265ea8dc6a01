import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.evaluate.streams import per_piece
from seqjax.types import Split


@pytest.mark.parametrize("piece", [1, 3, 7, 10])
def test_the_carry_goes_from_piece_to_piece_and_filling_counts_for_nothing(piece):
    x = np.random.default_rng(0).integers(1, 9, (4, 7))
    mask = np.ones((4, 7), bool)
    mask[2, 5:] = mask[:, :1] = False

    def running_sums(total, batch):
        """Of each piece the sum, over its masked steps, of all symbols so far."""
        sums = total[:, None] + jnp.cumsum(batch["x"], axis=1)
        return sums[:, -1], jnp.where(batch["mask"], sums, 0).sum(axis=1)

    found = jax.jit(lambda split: per_piece(running_sums, jnp.zeros(4, int), split, piece=piece))(
        Split({"x": x, "mask": mask})
    )
    assert found.shape == (-(-7 // piece), 4)
    np.testing.assert_array_equal(found.sum(axis=0), np.where(mask, np.cumsum(x, axis=1), 0).sum(axis=1))
