"""One chapter on a mesh: the same per-device function under `jit`, `pmap` or `shard_map`, on states of one shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from seqjax.errors import UsageError
from seqjax.parallel.layout import BATCH, SEED, STREAMED, Layout


class Dispatch(NamedTuple):
    """`(states, active, count, source) -> (states, metrics)`, by one program.

    given: the program's arguments from those of a call; taken: the results of a call from the program's.
    """

    program: Any
    given: Callable[..., tuple]
    taken: Callable[[Any], Any] = lambda results: results

    def __call__(self, states: PyTree, active: Array, count: Array, source: PyTree) -> Any:
        return self.taken(self.program(*self.given(states, active, count, source)))

    def compiled(self, states: PyTree, active: Array, count: Array, source: PyTree) -> jax.stages.Compiled:
        """The program for such arguments, to look at; the states may be gone after it, as after a call."""
        return self.program.lower(*self.given(states, active, count, source)).compile()


def distribute(chapter: Callable[..., Any], layout: Layout, *, streamed: bool = False) -> Dispatch:
    """The dispatch of a per-device chapter; the states are donated.

    States, `active` and metrics have the seeds first, as many as `layout.seeds_filled_up`; they lie on the devices by
    seeds. A chapter built with `layout.axis_name` is handed the number of its part of the batch.
    streamed: the source holds batches `[step, seed, row ...]`, else what all devices see whole.
    """
    match layout.driver:
        case "jit":
            return _jitted(chapter, layout, streamed)
        case "pmap":
            return _pmapped(chapter, layout, streamed)
    numbers = jnp.arange(layout.batch_parts, dtype=jnp.int32)

    def per_device(states: PyTree, active: Array, count: Array, number: Array, source: PyTree) -> Any:
        return chapter(states, active, count, number[0], source)

    specs = (P(SEED), P(SEED), P(), P(BATCH), STREAMED if streamed else P())
    # check_vma=True would turn the pmean of local gradients into a sum
    mapped = jax.shard_map(per_device, mesh=layout.mesh, in_specs=specs, out_specs=P(SEED), check_vma=False)
    return Dispatch(jax.jit(mapped, donate_argnums=0), _with(numbers))


def _with(number: Array) -> Callable[..., tuple]:
    """The arguments of a call with the number of a part of the batch, or those of all parts, among them."""
    return lambda states, active, count, source: (states, active, count, number, source)


def _jitted(chapter: Callable[..., Any], layout: Layout, streamed: bool) -> Dispatch:
    """Global arrays, for which the compiler finds the collectives."""
    number = jnp.int32(0)
    if layout.seed_parts == 1 and layout.batch_parts == 1:
        return Dispatch(jax.jit(chapter, donate_argnums=0), _with(number))
    parts = layout.seed_parts

    def whole(states: PyTree, active: Array, count: Array, source: PyTree) -> Any:
        # the seeds of a device one after another, devices side by side: a scan over seeds that are shared out would
        # have every device compute them all
        axis = 1 if streamed else None
        source = _split(source, parts, axis) if streamed else source
        beside = jax.vmap(chapter, in_axes=(0, 0, None, None, axis), spmd_axis_name=SEED)
        return _joined(beside(_split(states, parts), _split(active, parts), count, number, source))

    program = jax.jit(whole, donate_argnums=0, out_shardings=NamedSharding(layout.mesh, P(SEED)))
    return Dispatch(program, lambda *arguments: arguments)


def _pmapped(chapter: Callable[..., Any], layout: Layout, streamed: bool) -> Dispatch:
    devices = layout.mesh.devices.ravel().tolist()
    parts = layout.seed_parts
    if parts > 1 and layout.batch_parts > 1:
        raise UsageError(f"--driver pmap has one axis, {parts} x {layout.batch_parts} are asked for; use shard_map.")
    axis = 0 if streamed else None
    if parts == 1:
        numbers = jnp.arange(layout.batch_parts, dtype=jnp.int32)
        in_axes = (None, None, None, 0, axis)
        mapped = jax.pmap(chapter, BATCH, in_axes=in_axes, out_axes=None, devices=devices, donate_argnums=0)

        def over_batch(states: PyTree, active: Array, count: Array, source: PyTree) -> tuple:
            return states, active, count, numbers, _split(source, len(devices), 2, to=0) if streamed else source

        return Dispatch(mapped, over_batch)
    by_seed = NamedSharding(layout.mesh, P(SEED))
    number = jnp.int32(0)
    mapped = jax.pmap(chapter, SEED, in_axes=(0, 0, None, None, axis), out_axes=0, devices=devices, donate_argnums=0)
    # pmap wants one row a device
    split = jax.jit(lambda tree: _split(tree, parts), out_shardings=by_seed, donate_argnums=0)
    joined = jax.jit(_joined, out_shardings=by_seed, donate_argnums=0)

    def over_seeds(states: PyTree, active: Array, count: Array, source: PyTree) -> tuple:
        own = _split(source, parts, 1, to=0) if streamed else source
        return split(states), _split(active, parts), count, number, own

    return Dispatch(mapped, over_seeds, joined)


def over_seeds(function: Callable[..., Any], layout: Layout, in_specs: PyTree, out_specs: PyTree) -> Callable[..., Any]:
    """A jitted function of seeds, each device its own ones; the first argument is donated.

    Where seeds are not shared out every device computes all of them, on rows that `per_example` shares out.
    """
    if layout.seed_parts > 1:
        function = jax.shard_map(function, mesh=layout.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
    is_spec = lambda leaf: isinstance(leaf, P)  # noqa: E731
    places = jax.tree.map(lambda spec: NamedSharding(layout.mesh, spec), out_specs, is_leaf=is_spec)
    return jax.jit(function, donate_argnums=0, out_shardings=places)


def _split(tree: PyTree, parts: int, axis: int = 0, to: int | None = None) -> PyTree:
    """One axis as `[parts, its size / parts]`, the parts moved to another axis if asked."""

    def of(leaf: Array) -> Array:
        shape = (*leaf.shape[:axis], parts, leaf.shape[axis] // parts, *leaf.shape[axis + 1 :])
        leaf = leaf.reshape(shape)
        return leaf if to is None else jnp.moveaxis(leaf, axis, to)

    return jax.tree.map(of, tree)


def _joined(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: lax.collapse(leaf, 0, 2), tree)
