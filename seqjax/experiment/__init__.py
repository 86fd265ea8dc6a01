"""Running an experiment: `main` for its command line, `run` from Python, `load` for what a run has left."""

from seqjax.experiment.command import main, run
from seqjax.experiment.loading import load
from seqjax.experiment.options import Options

__all__ = ["Options", "load", "main", "run"]
