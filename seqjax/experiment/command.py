"""`main`, the command of every experiment module: parse, run or continue, evaluate, write the receipt, show it."""

import ast
import contextlib
import dataclasses
import inspect
import json
import logging
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np

import seqjax
from seqjax import checkpoint, parallel, train
from seqjax.errors import Interrupted, SeqjaxError
from seqjax.experiment import rundir
from seqjax.experiment import state as runs
from seqjax.experiment.options import Options, check, parse
from seqjax.experiment.phases import check_phases, train_phases
from seqjax.experiment.progress import say, show_table, silent
from seqjax.experiment.session import Session, make_plan, make_session, signals_raise, stop_signals
from seqjax.receipt import code_sha256, device_name, peak_bytes, read_receipt, summary, versions
from seqjax.storage import locked, write_atomically
from seqjax.types import Experiment

Build = Callable[[Any], Experiment]
STOPPED_AFTER_TRAINING = "stopped by a signal after training, which is saved.\nRun the same command to evaluate it."


def main(config_type: type, build: Build, *, smoke: dict[str, Any], args: list[str] | None = None) -> NoReturn:
    """Runs the experiment that `build(config)` describes, as the command line asks, and exits with its code.

    smoke: the fields that `--smoke` sets, for a run of seconds on embedded data.
    """
    file = Path(inspect.getfile(build))
    prog = f"python -m experiments.{file.stem}"
    # what Orbax's threads log of a failed save comes back as an error of one line
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    try:
        config, options = parse(config_type, ast.get_docstring(ast.parse(file.read_text())) or "", prog, args)
        run(config, build, options, smoke=smoke)
    except SeqjaxError as error:
        print(f"{file.stem}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # the reader of our output has gone; the run can be continued
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        print(f"{file.stem}: {error.filename or 'a file'}: {error.strerror or error}.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{file.stem}: interrupted before training; nothing was saved.", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def run(config: Any, build: Build, options: Options, *, smoke: dict[str, Any] | None = None) -> dict[str, Any]:
    """The receipt of a run: a new one, a continued one, or a finished one that is found again.

    smoke: the fields of its smoke twin; without them there is none, and the receipt has no metrics of it.
    """
    check(options)
    file = Path(inspect.getfile(build))
    if options.smoke:
        config = dataclasses.replace(config, **(smoke or {}))
    parallel.use_host_devices(options.host_devices)
    plan = make_plan(options)
    description = rundir.described(file.stem, config, plan._asdict())
    run_dir = options.run_dir or rundir.default_run_dir(description)
    experiment = build(config)
    check_phases(experiment, plan)
    rundir.make_directory(run_dir)
    with locked(run_dir), stop_signals() as stop_requested, contextlib.ExitStack() as after_training:
        description = rundir.claim(run_dir, description | {"data_sha256": experiment.data.sha256})
        code = code_sha256(file, Path(seqjax.__file__).parent)
        if (run_dir / "receipt.json").exists():
            receipt = read_receipt(run_dir / "receipt.json")
            say(f"{run_dir} is finished{'' if receipt['code_sha256'] == code else ' (with other code than today)'}.")
            _show(receipt, run_dir)
            return receipt
        session = make_session(experiment, plan, run_dir, save_every=options.save_every, stop_requested=stop_requested)
        trained = train_phases(session, runs.restore_or_start(session))
        # all that follows can be done again from what is saved: a signal need not wait for any of it to end
        after_training.enter_context(signals_raise(Interrupted(STOPPED_AFTER_TRAINING)))
        with parallel.sharing_rows(session.layout, own=True):
            metrics = evaluated(session.experiment, trained, plan.seed_range, stop_requested)
            _draw(session, trained, metrics)
        receipt = description | {
            "metrics": metrics,
            "skipped": np.asarray(trained.states.extra["skipped"]["total"]).tolist(),
            "steps": [int(step) for step in np.asarray(trained.states.step)],
            "state_sha256": checkpoint.tree_sha256(trained),
            "data": session.experiment.data.name,
            "data_sha256": session.experiment.data.sha256,
            "code_sha256": code,
            **({} if experiment.instruments is None else {"instruments": experiment.instruments()}),
            "health": _health(session.experiment, metrics, trained),
            "versions": versions(),
            "device": device_name(),
            "compile_s": round(session.timing.get("compile_s", 0.0), 3),
            "wall_s": round(session.elapsed(), 3),
            "peak_bytes": peak_bytes(),
        }
        if smoke and not options.smoke:
            _stop_if(stop_requested)
            receipt["smoke"] = _smoke_metrics_or_none(config, build, smoke)
        after_training.close()
        write_atomically(run_dir / "receipt.json", json.dumps(receipt, indent=2) + "\n")
        _show(receipt, run_dir)
        return receipt


def _stop_if(stop_requested: Callable[[], bool]) -> None:
    if stop_requested():
        raise Interrupted(STOPPED_AFTER_TRAINING)


def evaluated(
    experiment: Experiment, trained: runs.Run, seeds: range, stop_requested: Callable[[], bool] = lambda: False
) -> dict[str, dict[str, Any]]:
    """Every metric `row/measure` of `experiment.evaluate`, summarised over seeds. `stop_requested` is asked between."""
    states = train.averaged(runs.selected(trained))
    results = []
    for position, seed in enumerate(seeds):
        _stop_if(stop_requested)
        state = runs.seed_state(states, position)
        results.append(experiment.evaluate(state, experiment.data, runs.evaluation_key(seed)))
    return {name: summary([result[name] for result in results]) for name in results[0]}


def _draw(session: Session, trained: runs.Run, metrics: dict[str, dict[str, Any]]) -> None:
    from seqjax import plots

    experiment = session.experiment
    figures = {}
    rows = rundir.read_metrics(session.run_dir)
    if rows:
        figures["learning_curves"] = plots.learning_curves(rows, [phase.name for phase in experiment.phases])
    if experiment.figures is not None:
        first = runs.seed_state(train.averaged(runs.selected(trained)), 0)
        figures |= experiment.figures(first, experiment.data, runs.evaluation_key(session.plan.seed), metrics)
    plots.save_figures(figures, session.run_dir / "figures")


def smoke_metrics(config: Any, build: Build, smoke: dict[str, Any]) -> dict[str, float]:
    """The metrics of a run's smoke twin: one seed on one device, the same configuration but for the smoke fields.

    They let another machine, or later code, see in seconds whether it still computes the same.
    """
    experiment = build(dataclasses.replace(config, **smoke))
    plan = make_plan(Options(seeds=1, devices=1))
    check_phases(experiment, plan)
    with tempfile.TemporaryDirectory() as directory:
        session = make_session(experiment, plan, Path(directory), reporter=silent)
        trained = train_phases(session, runs.restore_or_start(session))
    return {name: measure["mean"] for name, measure in evaluated(experiment, trained, plan.seed_range).items()}


def _smoke_metrics_or_none(config: Any, build: Build, smoke: dict[str, Any]) -> dict[str, float] | None:
    try:
        return smoke_metrics(config, build, smoke)
    except Interrupted:
        raise
    except SeqjaxError as error:
        # what suits the run need not suit its twin, and must not cost the run
        say(f"no smoke twin of this configuration: {error}")
        return None


def _health(experiment: Experiment, metrics: dict[str, dict[str, Any]], trained: runs.Run) -> str:
    values = [value for measure in metrics.values() for value in measure["per_seed"]]
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(trained.states.params)]
    if not all(map(math.isfinite, values)) or not all(np.isfinite(leaf).all() for leaf in leaves):
        return "diverged"
    skipped = np.asarray(trained.states.extra["skipped"]["total"])
    if (2 * skipped > np.asarray(trained.states.step)).any():
        return "diverged"
    return "ok" if experiment.health is None else experiment.health(metrics)


def _show(receipt: dict[str, Any], run_dir: Path) -> None:
    say("")
    show_table(receipt["metrics"], receipt["plan"]["seeds"])
    say(f"data     {receipt['data']}   health {receipt['health']}   {receipt['wall_s']:.1f} s on {receipt['device']}")
    say(f"figures  {run_dir / 'figures'}")
    say(f"receipt  {run_dir / 'receipt.json'}")
