"""The command line of an experiment: its configuration and the options of a run, parsed by tyro."""

import contextlib
import dataclasses
import functools
import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from seqjax.errors import UsageError
from seqjax.experiment.rundir import MOST_SEEDS
from seqjax.experiment.track import Tracker, check_tracker
from seqjax.parallel import Driver

TITLES = ("Invalid choice", "Parsing error", "Required options", "Unrecognized options", "Value error")  # of boxes


@dataclasses.dataclass(frozen=True)
class Options:
    """How to run, whatever the experiment."""

    seed: int = 0
    """First training seed."""
    seeds: int = 5
    """Number of training seeds, trained in one program: seed, seed + 1, ..."""
    run_dir: Path | None = None
    """Where the run lives; an unfinished run found there is continued. Default: runs/NAME/DATASET-HASH."""
    devices: int | None = None
    """How many devices of each process share the seeds, and each batch where these are fewer. Default: all."""
    host_devices: int | None = None
    """So many CPU devices. Default: one for each core that a seed can have; with --driver jit or several processes one,
    or JAX_NUM_CPU_DEVICES."""
    processes: int | None = None
    """So many processes on this machine, on loopback. Those of Slurm, Open MPI, Kubernetes and TPUs are found."""
    stuck_after: float = 600.0
    """Seconds without a step, while another takes one, after which a process counts as stuck, which ends them all."""
    driver: Driver = "auto"
    """How the step runs on them; auto: jit on one device, pmap on several of one process, else shard_map."""
    reproducible: bool = False
    """Add up each batch in a fixed order, so that the bits do not depend on the number of devices."""
    plan: bool = False
    """Only say what the run would take, measured on a few steps that are thrown away; nothing is written."""
    overfit_batch: bool = False
    """Train on one batch, the same at every step, and only say whether its loss falls: a check before a real run."""
    track: Tracker | None = None
    """Also show metrics and figures in TensorBoard, or in W&B: offline, unless WANDB_MODE says otherwise."""
    smoke: bool = False
    """A run of seconds on embedded data instead of the full one; other flags given beside it count."""
    stream: bool = False
    """Stream the training data from the host even if they fit on the device."""
    log_every: int | None = None
    """Steps a line of metrics.jsonl stands for; divides the chapter. Default: one line a chapter."""
    save_every: float = 30.0
    """Seconds between checkpoints; 0 saves after every chapter."""
    keep: int = 3
    """So many of the newest checkpoints stay, and the one with the best validation."""
    keep_every: int | None = None
    """Of all checkpoints every so-manieth stays as well."""
    failed_save: Literal["stop", "go_on"] = "stop"
    """What to do when a checkpoint cannot be written: stop, or go on and try again at the next one."""
    fork: Path | None = None
    """A new run that begins with the newest checkpoint of the run in this directory."""
    replay: str | None = None
    """RUN@STEP: run that one step of a run again, and name the first operation and array that is not finite."""


def parse(
    config_type: type, description: str, prog: str, args: list[str] | None, *, smoke: Mapping[str, Any] | None = None
) -> tuple[Any, Options]:
    """The configuration and the options that the arguments ask for.

    smoke: the fields that `--smoke` sets, unless an argument says otherwise.
    Raises UsageError for what cannot be parsed, in one line instead of tyro's box; exits 0 after --help.
    """
    config, options = _parsed(config_type, config_type, description, prog, args)
    if options.smoke and smoke:
        small = functools.partial(config_type, **smoke)
        config, options = _parsed(config_type, small, description, prog, args)
    return config, options


def _parsed(
    config_type: type, default: Callable[[], Any], description: str, prog: str, args: list[str] | None
) -> tuple[Any, Options]:
    import tyro

    command = dataclasses.make_dataclass(
        "Command",
        [
            ("config", tyro.conf.OmitArgPrefixes[config_type], dataclasses.field(default_factory=default)),
            ("options", tyro.conf.OmitArgPrefixes[Options], dataclasses.field(default_factory=Options)),
        ],
    )
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            parsed = tyro.cli(command, prog=prog, description=description.replace("\n", "\n\n"), args=args)
    except SystemExit as end:
        if end.code:
            raise UsageError(_one_line(box.getvalue(), prog)) from None
        raise
    sys.stderr.write(box.getvalue())
    return parsed.config, parsed.options


def _one_line(box: str, prog: str) -> str:
    """The words of an error box, without its frame, titles and invitation to help."""
    words = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        text = re.sub(r"[╭╮╰╯│─]+", " ", line).strip()
        if text.startswith(("For full helptext", "Argument helptext")):
            break
        # where the terminal is of ASCII, frames are of hyphens
        if text.strip("-") and text not in TITLES:
            words.append(text)
    return f"{' '.join(words) or 'bad arguments'}\nSee {prog} --help."


def check(options: Options) -> None:
    """Raises UsageError for options that make no run."""
    if not 1 <= options.seeds <= MOST_SEEDS:
        raise UsageError(f"--seeds {options.seeds}: expected 1 to {MOST_SEEDS}.")
    if options.processes is not None and not 1 <= options.processes <= 512:
        raise UsageError(f"--processes {options.processes}: expected 1 to 512.")
    if not options.stuck_after > 0:
        raise UsageError(f"--stuck-after {options.stuck_after}: expected a number of seconds above 0.")
    if not 0 <= options.seed < 2**31 - options.seeds:
        raise UsageError(f"--seed {options.seed}: expected 0 to {2**31 - 1 - options.seeds}.")
    if options.host_devices is not None and not 1 <= options.host_devices <= 512:
        raise UsageError(f"--host-devices {options.host_devices}: expected 1 to 512.")
    if options.save_every < 0:
        raise UsageError(f"--save-every {options.save_every}: expected seconds, 0 or more.")
    if options.keep < 1:
        raise UsageError(f"--keep {options.keep}: expected at least 1.")
    if options.keep_every is not None and options.keep_every < 1:
        raise UsageError(f"--keep-every {options.keep_every}: expected at least 1.")
    if options.log_every is not None and options.log_every < 1:
        raise UsageError(f"--log-every {options.log_every}: expected at least 1.")
    if options.plan and options.replay is not None:
        raise UsageError("--plan and --replay: expected one of them, each does something else than to run.")
    check_tracker(options.track)
