"""The processes of a run, so that all of them do the same: what the first one finds, and what any of them asks for."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import PyTree

T = TypeVar("T")
PREFIX = "seqjax"
SLICE_MS = 1000  # of a wait: between two of them signals are handled


class Peers(NamedTuple):
    """This process is number `index` of `count`. client: of JAX's coordination service, where there are several."""

    index: int = 0
    count: int = 1
    client: Any = None

    @property
    def is_first(self) -> bool:
        return self.index == 0

    def from_first(self, name: str, find: Callable[[], T]) -> T:
        """What `find` returns in the first process (JSON); the others wait for it. Each name once."""
        if self.client is None:
            return find()
        if self.is_first:
            found = find()
            self.client.key_value_set(f"{PREFIX}/first/{name}", json.dumps(found))
            return found
        return json.loads(self._waited_for(f"{PREFIX}/first/{name}"))

    def gathered(self, name: str, value: T) -> list[T]:
        """The values (JSON) of all processes, in their order. Each name once."""
        if self.client is None:
            return [value]
        self.client.key_value_set(f"{PREFIX}/each/{name}/{self.index}", json.dumps(value))
        return [json.loads(self._waited_for(f"{PREFIX}/each/{name}/{index}")) for index in range(self.count)]

    def tree_from_first(self, tree: PyTree | None, like: PyTree) -> PyTree:
        """The arrays of the first process, bit for bit; the others give `None`. like: their shapes and types."""
        if self.client is None:
            return tree
        from jax.experimental.multihost_utils import broadcast_one_to_all

        leaves, structure = jax.tree.flatten(like)
        # as bytes, since the broadcast is a sum, which keeps no sign of zero
        given = [_bytes(leaf) for leaf in jax.tree.leaves(tree)] if self.is_first else [_zeros(leaf) for leaf in leaves]
        whole = broadcast_one_to_all(np.concatenate([*given, np.zeros(1, np.uint8)]))
        places = np.cumsum([0, *(len(part) for part in given)])
        found = [
            _from_bytes(whole[start:stop], leaf)
            for start, stop, leaf in zip(places[:-1], places[1:], leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, found)

    def any_of(self, asked: Sequence[bool]) -> list[bool]:
        """Whether any process asks, for each of several questions; all get the same answers."""
        if self.client is None:
            return list(asked)
        from jax.experimental.multihost_utils import process_allgather

        return process_allgather(np.asarray(asked)).any(axis=0).tolist()

    def _waited_for(self, key: str) -> str:
        while True:
            try:
                return self.client.blocking_key_value_get(key, SLICE_MS)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise


ALONE = Peers()


def peers_here() -> Peers:
    """The processes that JAX has been told of."""
    from jax._src import distributed

    state = distributed.global_state
    return ALONE if state.client is None or state.num_processes == 1 else Peers(
        state.process_id, state.num_processes, state.client
    )  # fmt: skip


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data_of(leaf: Any) -> Any:
    return jax.eval_shape(jax.random.key_data, leaf) if _is_key(leaf) else leaf


def _bytes(leaf: Any) -> np.ndarray:
    array = np.ascontiguousarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    return np.frombuffer(array.tobytes(), np.uint8)


def _zeros(leaf: Any) -> np.ndarray:
    data = _data_of(leaf)
    return np.zeros(data.size * data.dtype.itemsize, np.uint8)


def _from_bytes(part: np.ndarray, leaf: Any) -> jax.Array:
    data = _data_of(leaf)
    array = jax.numpy.asarray(np.frombuffer(part.tobytes(), data.dtype).reshape(data.shape))
    return jax.random.wrap_key_data(array) if _is_key(leaf) else array
