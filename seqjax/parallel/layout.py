"""Where the arrays of a run lie: seeds along one axis of a mesh of devices, the rows of a batch along the other."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

from seqjax.errors import UsageError, require
from seqjax.types import Batch

Driver = Literal["auto", "jit", "pmap", "shard_map"]

SEED, BATCH = "seed", "batch"
STREAMED = P(None, SEED, BATCH)  # batches [step, seed, row ...], of which each device has its own
GATHERED_BYTES = 2**28  # of other processes' arrays, at once on each device
VIRTUAL_SHARDS = 8  # of a batch in the reproducible mode, however many devices share it


class Layout(NamedTuple):
    """A mesh of devices `[seed, batch]`, the driver that runs the step on it, and how a batch is added up.

    virtual_shards: parts of each global batch whose gradients are added in a fixed order; `None` for any order.
    """

    mesh: Mesh
    driver: Literal["jit", "pmap", "shard_map"]
    virtual_shards: int | None = None

    @property
    def seed_parts(self) -> int:
        return self.mesh.shape[SEED]

    @property
    def batch_parts(self) -> int:
        return self.mesh.shape[BATCH]

    @property
    def axis_name(self) -> str | None:
        """What the step averages over; `None` where it sees whole batches."""
        return None if self.driver == "jit" or self.batch_parts == 1 else BATCH

    @property
    def shards(self) -> int | None:
        """The virtual shards that one device adds up."""
        return None if self.virtual_shards is None else self.virtual_shards // self.batch_parts

    def seeds_filled_up(self, count: int) -> int:
        """The least number from `count` on that the devices share out equally."""
        return -(-count // self.seed_parts) * self.seed_parts


def make_layout(devices: Sequence[jax.Device], driver: Driver, *, num_seeds: int, reproducible: bool = False) -> Layout:
    """Seeds over devices where there are at least as many seeds, else the batch; both where seeds divide the devices.

    `auto`: `jit` on one device, `pmap` on those of one process, `shard_map` where both axes are shared or processes are
    several. `pmap` has one axis: asked for with fewer seeds than devices, it shares out the batch alone.
    Raises UsageError for drivers that cannot.
    """
    count, processes = len(devices), len({device.process_index for device in devices})
    seed_parts = count if num_seeds >= count else 1 if driver == "pmap" else math.gcd(num_seeds, count)
    if driver == "auto":
        one_axis = seed_parts in (1, count)
        driver = "jit" if count == 1 else "pmap" if one_axis and processes == 1 else "shard_map"
    if driver == "pmap" and processes > 1:
        raise UsageError(f"--driver pmap runs in one process, there are {processes}; use shard_map or jit.")
    if reproducible:
        if driver == "jit" and count > 1:
            raise UsageError("--reproducible: --driver jit adds up in an order of its own; use pmap or shard_map.")
        batch_parts = count // seed_parts
        fits = VIRTUAL_SHARDS % batch_parts == 0
        require(fits, "--reproducible devices", batch_parts, f"a divisor of {VIRTUAL_SHARDS} to share a batch")
    mesh = _mesh(np.asarray(devices).reshape(seed_parts, -1))
    return Layout(mesh, driver, VIRTUAL_SHARDS if reproducible else None)


def _mesh(devices: np.ndarray) -> Mesh:
    return Mesh(devices, (SEED, BATCH), axis_types=(AxisType.Auto,) * 2)


def sharing_rows(layout: Layout, *, own: bool = False) -> contextlib.AbstractContextManager:
    """Within it `per_example` shares its rows out over the devices; not where the bits must not depend on them.

    Nor where seeds alone share out the cores of a CPU: a run's numbers are those of one core then.
    own: over this process's devices alone.
    """
    mesh = layout.mesh
    if layout.batch_parts == 1 and mesh.devices.flat[0].platform == "cpu":
        return contextlib.nullcontext()
    if own:
        here = [device for device in mesh.devices.ravel() if device.process_index == jax.process_index()]
        mesh = _mesh(np.asarray(here).reshape(1, -1))
    return contextlib.nullcontext() if mesh.size == 1 or layout.virtual_shards is not None else jax.set_mesh(mesh)


def placed(tree: PyTree, mesh: Mesh, spec: P) -> PyTree:
    """The tree, the same in every process, on the mesh; each device gets its own part, or a copy."""
    sharding = NamedSharding(mesh, spec)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def of_all_processes(leaf: jax.Array) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.jit(jax.random.wrap_key_data)(of_all_processes(jax.random.key_data(leaf)))
        values = np.asarray(jax.numpy.asarray(leaf))
        return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])

    return jax.tree.map(of_all_processes, tree)


class Part(NamedTuple):
    """The places of a mesh's axes that are on this process's devices; those of the batch as `aligned`."""

    seeds: range
    batch: range


def own_part(layout: Layout) -> Part:
    own = np.asarray([device.process_index == jax.process_index() for device in layout.mesh.devices.ravel()])
    rows, columns = np.nonzero(own.reshape(layout.mesh.devices.shape))
    return Part(range(rows.min(), rows.max() + 1), aligned(int(columns.min()), int(columns.max()), layout.batch_parts))


def aligned(first: int, last: int, parts: int) -> range:
    """The least of the equal blocks into which `parts` places divide that holds the places `first` to `last`."""
    blocks = (
        range(first // size * size, first // size * size + size) for size in range(1, parts + 1) if parts % size == 0
    )
    return next(block for block in blocks if last in block)


def streamed_on(batches: dict[str, np.ndarray], layout: Layout) -> dict[str, jax.Array]:
    """Batches `[step, seed, row ...]`, of the rows of this process's devices alone, as a global array on the mesh."""
    own, sharding = own_part(layout), NamedSharding(layout.mesh, STREAMED)

    def on_mesh(values: np.ndarray) -> jax.Array:
        steps, seeds, rows = values.shape[0], values.shape[1] // len(own.seeds), values.shape[2] // len(own.batch)
        values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype), copy=False)
        shape = (steps, seeds * layout.seed_parts, rows * layout.batch_parts, *values.shape[3:])

        def part(index: tuple[slice, ...]) -> np.ndarray:
            of_seeds, of_rows = (
                slice((place.start or 0) - first.start * size, (place.stop or whole) - first.start * size)
                for place, first, size, whole in zip(index[1:3], own, (seeds, rows), shape[1:3], strict=True)
            )
            return values[:, of_seeds, of_rows]

        return jax.make_array_from_callback(shape, sharding, part)

    return {name: on_mesh(values) for name, values in batches.items()}


def rows_over_batch(batch: Batch, layout: Layout) -> Batch:
    """A batch of global arrays with its rows shared out over the devices; any other as it is."""
    if layout.driver != "jit" or layout.batch_parts == 1:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(layout.mesh, P(BATCH)))


def replicated(tree: PyTree, mesh: Mesh) -> PyTree:
    """The tree with a copy on every device, moved once instead of at every dispatch."""
    return placed(tree, mesh, P())


def local(tree: PyTree) -> PyTree:
    """The whole tree on the first device of this process. With several processes, all must ask for it."""

    def here(leaf: jax.Array) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(here(jax.random.key_data(leaf)))
        # a copy, since the run goes on in place; `jnp.asarray` would compile a program for each shape
        return jax.device_put(np.array(leaf))

    leaves, structure = jax.tree.flatten(tree)
    spread = [place for place, leaf in enumerate(leaves) if not leaf.is_fully_addressable]
    leaves = [here(leaf) if leaf.is_fully_addressable else leaf for leaf in leaves]
    while spread:
        sizes = np.cumsum([leaves[place].size * leaves[place].dtype.itemsize for place in spread])
        some = spread[: max(1, np.searchsorted(sizes, GATHERED_BYTES, side="right"))]
        gathered = _gather(leaves[some[0]].sharding.mesh)([leaves[place] for place in some])
        for place, leaf in zip(some, gathered, strict=True):
            leaves[place] = here(leaf.addressable_data(0))
        del gathered, spread[: len(some)]
    return jax.tree.unflatten(structure, leaves)


@functools.cache
def _gather(mesh: Mesh) -> Callable[[list[jax.Array]], list[jax.Array]]:
    """One program for many arrays: one for each would keep a run that is told to stop compiling for seconds."""
    return jax.jit(lambda leaves: leaves, out_shardings=NamedSharding(mesh, P()))


def differing_replicas(tree: PyTree) -> list[str]:
    """Names of the arrays whose copies on this process's devices are not the same bits; empty when all agree."""
    names = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        copies: dict[str, bytes] = {}
        for shard in array.addressable_shards:
            bits = np.asarray(shard.data).tobytes()
            if copies.setdefault(str(shard.index), bits) != bits:
                names.append(jax.tree_util.keystr(path))
                break
    return names
