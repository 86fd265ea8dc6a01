"""The smoke metrics of one experiment, and the versions they were computed with, as a line of JSON.

A program of its own, because another Python runs it: `PYTHON -m results.smoke NAME`; see `results.drift`.
"""

import importlib
import json
import sys
from typing import Any


def measured(name: str) -> dict[str, Any]:
    """`metrics` by name, `versions` by package, and the `device`."""
    from seqjax.experiment.command import smoke_metrics
    from seqjax.receipt import device_name, versions

    module = importlib.import_module(f"experiments.{name}")
    metrics = smoke_metrics(module.Config(), module.build, module.SMOKE)
    return {"metrics": metrics, "versions": versions(), "device": device_name()}


if __name__ == "__main__":
    print(json.dumps(measured(sys.argv[1])))
