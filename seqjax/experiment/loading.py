"""A finished or unfinished run, handed to an importer's own code."""

import functools
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from beartype import BeartypeConf
from beartype.door import is_bearable

from seqjax import train
from seqjax.data.load import NAMES
from seqjax.errors import CheckpointError, DataError, SeqjaxError, UsageError
from seqjax.experiment import rundir
from seqjax.experiment import state as runs
from seqjax.storage import sha256_of_file
from seqjax.types import Experiment, Params, TrainState

INTEGERS_ARE_FLOATS = BeartypeConf(is_pep484_tower=True)


class Loaded(NamedTuple):
    """A run for a notebook: `run.functions["encode"](x)` is `encode` with the trained parameters bound.

    state: the evaluated state of the chosen seed; params: its parameters.
    """

    functions: dict[str, Callable[..., Any]]
    params: Params
    state: TrainState
    config: Any
    experiment: Experiment


def load(run_dir: str | Path, *, seed: int | None = None) -> Loaded:
    """The newest verified checkpoint of a run, for one of its seeds (default: the first).

    The experiment module is imported from the checkout that runs this, and its data are loaded.
    Raises UsageError for what is no run directory and where its file has changed since, and CheckpointError when no
    checkpoint can be trusted.

    Examples:
        >>> import seqjax
        >>> from pathlib import Path
        >>> from experiments.linear_autoencoder import Config, build
        >>> from seqjax.experiment import Options, run
        >>> config = Config(steps=20, chapter_steps=20, batch_size=64)
        >>> receipt = run(config, build, Options(run_dir=Path("runs/example"), seeds=1))  # doctest: +ELLIPSIS
        train  step 20/20  ...
        receipt  runs/example/receipt.json
        >>> loaded = seqjax.load("runs/example")
        >>> x = loaded.experiment.data.test.fields["x"]
        >>> print(loaded.functions["encode"](x[:2]).shape)
        (2, 10)
    """
    run_dir = Path(run_dir)
    description = rundir.read_description(run_dir)
    name = description["experiment"]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UsageError(f"{run_dir}: experiment name {name!r}, expected a module of experiments/.")
    try:
        module = importlib.import_module(f"experiments.{name}")
    except ModuleNotFoundError:
        raise UsageError(
            f"{run_dir}: experiments.{name} cannot be imported.\nRun from the checkout, or put it on PYTHONPATH."
        ) from None
    config = config_from(module.Config, description["config"])
    experiment = built_again(run_dir, description, config, module.build)
    seeds = range(description["plan"]["seed"], description["plan"]["seed"] + description["plan"]["seeds"])
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        raise UsageError(f"seed {chosen}: {run_dir} holds seeds {seeds[0]} to {seeds[-1]}.")
    restored = runs.restore(run_dir, experiment, seeds)
    if restored is None:
        raise CheckpointError(f"{run_dir}: no checkpoint yet.")
    state = runs.seed_state(train.averaged(runs.selected(restored.tree)), seeds.index(chosen))
    bound = {name: functools.partial(function, state.params) for name, function in experiment.functions.items()}
    return Loaded(bound, state.params, state, config, experiment)


def built_again(
    run_dir: Path, description: dict[str, Any], config: Any, build: Callable[[Any], Experiment]
) -> Experiment:
    """The experiment of a run. Raises UsageError where its file is not the one that the run was trained on.

    Data by name are pinned, but for made-up ones, which may be rounded in another way on another kind of device.
    """
    dataset = description["config"].get("dataset")
    own = rundir.names_a_path(dataset)
    try:
        experiment = build(config)
        sha256 = experiment.data.sha256
    except SeqjaxError as error:
        # `config.json` keeps a path as it was typed
        relative = isinstance(dataset, str) and not own and not Path(dataset).expanduser().is_absolute()
        if isinstance(error, DataError) and relative and dataset not in NAMES:
            raise DataError(
                f"{' '.join(str(error).splitlines())}\n"
                f"If '{dataset}' is a path, it is relative to the folder in which the run was started."
            ) from None
        # what the data no longer suit is not at fault; of two `.ts` files the hash is not that of either
        if not own or Path(dataset).suffix == ".ts" or not Path(dataset).expanduser().is_file():
            raise
        sha256 = sha256_of_file(Path(dataset).expanduser())
        if description.get("data_sha256") == sha256:
            raise
    if own and description.get("data_sha256") != sha256:
        raise UsageError(f"{rundir.changed_data(run_dir, description, sha256)}\nPut the old file back.")
    return experiment


def config_from(config_type: type, values: dict[str, Any]) -> Any:
    """A configuration from its JSON form: lists become the tuples they were.

    Raises UsageError naming a field that only one of the two has, or whose value is none of its type.
    """
    types = get_type_hints(config_type)
    if set(values) != set(types):
        odd = sorted(set(values) ^ set(types))[0]
        raise UsageError(f"configuration field {odd}: in only one of config.json and {config_type.__module__}.Config.")
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name, value in plain.items():
        if not is_bearable(value, types[name], conf=INTEGERS_ARE_FLOATS):
            shown = str(value)[:40]
            raise UsageError(f"configuration field {name}: {shown!r} in config.json, expected {types[name]}.")
    return config_type(**plain)
