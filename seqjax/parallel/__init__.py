"""One step on any number of devices and processes."""

from seqjax.parallel.devices import SeedPlan, local_devices, seed_plan, use_host_devices
from seqjax.parallel.drivers import distribute, over_seeds
from seqjax.parallel.layout import (
    BATCH,
    SEED,
    VIRTUAL_SHARDS,
    Driver,
    Layout,
    differing_replicas,
    local,
    make_layout,
    own_part,
    placed,
    replicated,
    rows_over_batch,
    sharing_rows,
    streamed_on,
)

__all__ = [
    "BATCH",
    "SEED",
    "VIRTUAL_SHARDS",
    "Driver",
    "Layout",
    "SeedPlan",
    "differing_replicas",
    "distribute",
    "local",
    "local_devices",
    "make_layout",
    "over_seeds",
    "own_part",
    "placed",
    "replicated",
    "rows_over_batch",
    "seed_plan",
    "sharing_rows",
    "streamed_on",
    "use_host_devices",
]
