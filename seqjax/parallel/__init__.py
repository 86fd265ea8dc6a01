"""One step on any number of devices and processes."""

from seqjax.parallel.devices import (
    SeedPlan,
    devices_of,
    seed_plan,
    seeds_over_cores,
    usable_cores,
    use_deterministic_kernels,
    use_host_devices,
)
from seqjax.parallel.drivers import Dispatch, distribute, over_seeds
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
from seqjax.parallel.peers import ALONE, Peers

__all__ = [
    "ALONE",
    "BATCH",
    "SEED",
    "VIRTUAL_SHARDS",
    "Dispatch",
    "Driver",
    "Layout",
    "Peers",
    "SeedPlan",
    "devices_of",
    "differing_replicas",
    "distribute",
    "local",
    "make_layout",
    "over_seeds",
    "own_part",
    "placed",
    "replicated",
    "rows_over_batch",
    "seed_plan",
    "seeds_over_cores",
    "sharing_rows",
    "streamed_on",
    "usable_cores",
    "use_deterministic_kernels",
    "use_host_devices",
]
