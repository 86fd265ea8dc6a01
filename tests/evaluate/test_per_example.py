import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.evaluate.per_example import per_example
from seqjax.types import Split


@pytest.mark.parametrize("chunk", [1, 3, 7, 10, 50])
def test_values_and_order_do_not_depend_on_the_chunk(chunk):
    split = Split({"x": np.arange(20.0, dtype=np.float32).reshape(10, 2), "label": np.arange(10)})
    found = jax.jit(lambda s: per_example(lambda b: {"sum": b["x"].sum(1), "i": b["index"]}, s, chunk=chunk))(split)
    np.testing.assert_array_equal(found["sum"], split.fields["x"].sum(axis=1))
    np.testing.assert_array_equal(found["i"], np.arange(10))


def test_bytes_arrive_as_intensities():
    split = Split({"x": np.asarray([[0, 51], [255, 102]], np.uint8)})
    np.testing.assert_allclose(per_example(lambda b: b["x"], split), [[0, 0.2], [1, 0.4]], atol=1e-7)


def test_memory_is_bounded_by_the_chunk():
    split = Split({"x": np.zeros((4096, 8), np.float32)})

    def temporary(chunk):
        def function(batch):
            return jnp.exp(batch["x"] @ jnp.ones((8, 512))).sum(axis=1)

        compiled = jax.jit(lambda s: per_example(function, s, chunk=chunk)).lower(split).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(64) < temporary(4096) / 4
