"""`main`, the command of every experiment module: parse, run or continue, evaluate, write the receipt, show it."""

import ast
import contextlib
import dataclasses
import functools
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
from seqjax.errors import CheckpointError, Interrupted, NonFiniteError, SeqjaxError, UsageError
from seqjax.experiment import overfit, preview, rundir
from seqjax.experiment import state as runs
from seqjax.experiment.compiled import keep_compiled_programs
from seqjax.experiment.loopback import run_on_loopback
from seqjax.experiment.options import Options, check, parse
from seqjax.experiment.phases import check_phases, train_phases
from seqjax.experiment.progress import say, show_table, silent
from seqjax.experiment.replay import replay
from seqjax.experiment.session import Session, make_plan, make_session, signals_raise, stop_signals
from seqjax.experiment.together import met, starts_others, told
from seqjax.experiment.track import NAME, PATIENCE, UNTRACKED, left_behind, opened, tracking
from seqjax.parallel import Peers
from seqjax.parallel.watch import Watch
from seqjax.receipt import code_sha256, device_name, peak_bytes, read_receipt, summary, versions
from seqjax.storage import locked, write_atomically
from seqjax.types import Experiment

Build = Callable[[Any], Experiment]
STOPPED_BEFORE_TRAINING = "stopped by a signal before training.\nRun the same command to begin it, or to continue."
STOPPED_AFTER_TRAINING = "stopped by a signal after training, which is saved.\nRun the same command to evaluate it."


def main(config_type: type, build: Build, *, smoke: dict[str, Any], args: list[str] | None = None) -> NoReturn:
    """Runs the experiment that `build(config)` describes, as the command line asks, and exits with its code.

    smoke: the fields that `--smoke` sets, for a run of seconds on embedded data; flags given beside it count.
    """
    file = Path(inspect.getfile(build))
    # what Orbax's threads log of a failed save comes back as an error of one line
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _all_but_closed_loops
    parallel.use_deterministic_kernels()
    keep_compiled_programs()
    peers, watch = parallel.ALONE, None
    try:
        with signals_raise(Interrupted(STOPPED_BEFORE_TRAINING)):
            description = ast.get_docstring(ast.parse(file.read_text())) or ""
            config, options = parse(config_type, description, f"python -m experiments.{file.stem}", args, smoke=smoke)
            check(options)
            if options.replay is not None:
                sys.exit(0 if replay(options.replay, file.stem, config_type, build) else NonFiniteError.exit_code)
            if starts_others(options):
                sys.exit(run_on_loopback(options.processes, [sys.executable, *sys.orig_argv[1:]]))
            parallel.use_host_devices(options.host_devices)
            peers, watch = met(options)
            if peers.count == 1 and options.driver != "jit":
                parallel.seeds_over_cores(options.seeds)
            if options.plan:
                say_plan(config, build, options, peers=peers, watch=watch)
            else:
                run(config, build, options, smoke=smoke, peers=peers, watch=watch)
        code = 0
    except BaseException as error:  # whatever it is, the other processes are not to wait for this one
        code = told(error, file.stem, peers, watch)
    if watch is not None:
        watch.leave(code)
    # a run that is done has waited already
    if left_behind(0.0 if code == 0 else PATIENCE):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def say_plan(
    config: Any, build: Build, options: Options, *, peers: Peers = parallel.ALONE, watch: Watch | None = None
) -> list[preview.Preview]:
    """Prints what `run` would take of the same arguments, all of it from its first step on, and writes nothing."""
    check(options)
    parallel.use_host_devices(options.host_devices)
    plan, experiment = make_plan(options), _experiment(config, build, options)
    check_phases(experiment, plan)
    session = preview.planned(
        experiment, plan=plan, peers=peers, moved=_moved(watch, True), overfit_batch=options.overfit_batch
    )
    found = preview.previews(session)
    if peers.is_first:
        preview.show(session, found)
    return found


def _experiment(config: Any, build: Build, options: Options) -> Experiment:
    experiment = build(config)
    return overfit.overfitting(experiment) if options.overfit_batch else experiment


def _moved(watch: Watch | None, training: bool) -> Callable[[], None]:
    return (lambda: None) if watch is None else lambda: watch.moved(training=training)


def _all_but_closed_loops(unraisable: Any) -> None:
    """Where one array of a save fails, TensorStore tells of the others to a loop that Orbax has closed by then."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


def run(
    config: Any,
    build: Build,
    options: Options,
    *,
    smoke: dict[str, Any] | None = None,
    peers: Peers = parallel.ALONE,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """The receipt of a run: a new one, a continued one, or a finished one that is found again.

    config: taken as it is, also with `options.smoke`, by which a run only has no twin beside it.
    smoke: the fields of its smoke twin; without them there is none, and the receipt has no metrics of it.
    peers: the processes that run it together, and their watch.
    """
    check(options)
    if options.processes not in (None, peers.count):
        raise UsageError(f"processes={options.processes}: this is one of {peers.count}; the command line starts more.")
    file = Path(inspect.getfile(build))
    parallel.use_host_devices(options.host_devices)
    plan = make_plan(options)
    description = rundir.described(file.stem, config, plan._asdict())
    if options.fork is not None:
        description |= {"fork": str(options.fork.resolve())}
    if options.overfit_batch:
        description |= overfit.MARK
    run_dir = options.run_dir or rundir.default_run_dir(description)
    if options.fork is not None and options.fork.resolve() == run_dir.resolve():
        raise UsageError(f"--fork {options.fork}: is the new run itself; name another --run-dir.")
    experiment = _experiment(config, build, options)
    check_phases(experiment, plan)
    if options.overfit_batch and plan.log_every is None:
        plan = plan._replace(log_every=overfit.log_window(experiment.phases))
        description["plan"]["log_every"] = plan.log_every
    if options.fork is not None:
        peers.from_first("origin", lambda: _require_origin(options.fork, description, experiment))
    description |= {"data_sha256": experiment.data.sha256}
    _require_the_same(peers, description)
    code = code_sha256(file, Path(seqjax.__file__).parent)
    with (
        contextlib.ExitStack() as held,
        stop_signals() as stop_requested,
        contextlib.ExitStack() as after_training,
        contextlib.ExitStack() as tracked,
    ):

        def claimed() -> tuple[dict[str, Any], dict[str, Any] | None]:
            rundir.make_directory(run_dir)
            held.enter_context(locked(run_dir))
            found, path = rundir.claim(run_dir, description), run_dir / "receipt.json"
            return found, read_receipt(path) if path.exists() else None

        description, receipt = peers.from_first("claim", claimed)
        if receipt is not None:
            if peers.is_first:
                say(
                    f"{run_dir} is finished{'' if receipt['code_sha256'] == code else ' (with other code than today)'}."
                )
                _show(receipt, run_dir)
            return receipt
        plan = plan._replace(seed_plan=description["plan"]["seed_plan"])
        session = make_session(
            experiment,
            plan,
            run_dir,
            save_every=options.save_every,
            stop_requested=stop_requested,
            peers=peers,
            moved=_moved(watch, True),
            retention=checkpoint.Retention(newest=options.keep, every=options.keep_every),
            goes_on_unsaved=options.failed_save == "go_on",
            origin=options.fork,
            made_by={"code_sha256": code, "versions": versions()},
            overfit_batch=options.overfit_batch,
        )
        start, track = runs.restore_or_start(session), UNTRACKED
        if options.track is not None and peers.is_first:
            sink = functools.partial(opened, options.track, run_dir, description)
            names = [phase.name for phase in experiment.phases]
            shown = tracking(NAME + options.track, sink, names, plan.seed_range, earlier=rundir.read_metrics(run_dir))
            track = tracked.enter_context(shown)
            session = session._replace(track=track.lines)
        _moved(watch, True)()
        trained = train_phases(session, start)
        _moved(watch, False)()
        # all that follows can be done again from what is saved: a signal need not wait for any of it to end
        after_training.enter_context(signals_raise(Interrupted(STOPPED_AFTER_TRAINING)))
        with parallel.sharing_rows(session.layout, own=True):
            if options.overfit_batch:
                metrics = overfit.loss_change(rundir.read_metrics(run_dir), experiment.phases) if peers.is_first else {}
            else:
                metrics = evaluated(session.experiment, trained, plan.seed_range, stop_requested, peers)
            if peers.is_first:
                _draw(session, trained, metrics)

        def finished() -> dict[str, Any]:
            receipt = description | _measured(session, trained, metrics, code)
            if smoke and not options.smoke and not options.overfit_batch:
                _stop_if(stop_requested)
                receipt["smoke"] = _smoke_metrics_or_none(config, build, smoke)
            after_training.close()
            write_atomically(run_dir / "receipt.json", json.dumps(receipt, indent=2) + "\n")
            track.finish(metrics, run_dir / "figures")
            _show(receipt, run_dir)
            return receipt

        return peers.from_first("receipt", finished)


def _require_origin(origin: Path, description: dict[str, Any], experiment: Experiment) -> None:
    """Raises UsageError where the run to begin with is of another experiment or other seeds, or further than this one
    goes, and CheckpointError where it has no checkpoint; before there is a directory of the new one.
    """
    found = rundir.read_description(origin)
    plans = (found["plan"], description["plan"])
    for name, there, here in (
        ("experiment", found["experiment"], description["experiment"]),
        *((name, *(plan[name] for plan in plans)) for name in ("seed", "seeds")),
        ("overfit_batch", found.get("overfit_batch"), description.get("overfit_batch")),
    ):
        if there != here:
            raise UsageError(f"--fork {origin}: {name} is {there} there and {here} here.\nAsk for the same.")
    saved = checkpoint.checkpoints(origin / "checkpoints")
    if not saved:
        raise CheckpointError(f"--fork {origin}: holds no checkpoint yet.")
    index, step = checkpoint.numbers(saved[0])
    if index < len(experiment.phases) and step > experiment.phases[index].steps:
        raise UsageError(
            f"--fork {origin}: stands at step {step} of phase {experiment.phases[index].name}, which has"
            f" {experiment.phases[index].steps} here.\nAsk for at least as many."
        )


def _require_the_same(peers: Peers, description: dict[str, Any]) -> None:
    """Raises UsageError in a process whose command line or data are not those of the first."""
    theirs = peers.from_first("description", lambda: description)
    own = json.loads(json.dumps(description))
    for name, value in theirs.items():
        if own[name] != value:
            raise UsageError(f"{name} is {own[name]} here and {value} in process 0; expected one command and one data.")


def _measured(session: Session, trained: runs.Run, metrics: dict[str, Any], code: str) -> dict[str, Any]:
    """What a receipt says besides the description of its run."""
    experiment, seeds = session.experiment, session.plan.seeds
    rows = rundir.read_metrics(session.run_dir)
    skipped = rundir.skipped_steps(rows, seeds)
    return {
        "metrics": metrics,
        "skipped": [sum(counts) for counts in zip(*skipped.values(), strict=True)] or [0] * seeds,
        "steps": [int(step) for step in np.asarray(trained.states.step)],
        "state_sha256": checkpoint.tree_sha256(trained),
        "data": experiment.data.name,
        "data_sha256": experiment.data.sha256,
        "code_sha256": code,
        **({} if experiment.instruments is None else {"instruments": experiment.instruments()}),
        "health": _health(experiment, metrics, trained, rows, session.overfit_batch),
        "versions": versions(),
        "device": device_name(),
        "compile_s": round(session.timing.get("compile_s", 0.0), 3),
        "wall_s": round(session.elapsed(), 3),
        "peak_bytes": peak_bytes(),
    }


def _stop_if(stop_requested: Callable[[], bool]) -> None:
    if stop_requested():
        raise Interrupted(STOPPED_AFTER_TRAINING)


def evaluated(
    experiment: Experiment,
    trained: runs.Run,
    seeds: range,
    stop_requested: Callable[[], bool] = lambda: False,
    peers: Peers = parallel.ALONE,
) -> dict[str, dict[str, Any]]:
    """Every metric `row/measure` of `experiment.evaluate`, summarised over seeds, which the processes deal out.

    `stop_requested` is asked between two seeds.
    """
    states = train.averaged(runs.selected(trained))
    own = []
    for position in range(peers.index, len(seeds), peers.count):
        _stop_if(stop_requested)
        state = runs.seed_state(states, position)
        own.append(experiment.evaluate(state, experiment.data, runs.evaluation_key(seeds[position])))
    dealt = peers.gathered("metrics", own)
    results = [dealt[position % peers.count][position // peers.count] for position in range(len(seeds))]
    return {name: summary([result[name] for result in results]) for name in results[0]}


def _draw(session: Session, trained: runs.Run, metrics: dict[str, dict[str, Any]]) -> None:
    from seqjax import plots

    experiment = session.experiment
    figures = {}
    rows = rundir.read_metrics(session.run_dir)
    if rows:
        figures["learning_curves"] = plots.learning_curves(rows, [phase.name for phase in experiment.phases])
    if experiment.figures is not None and not session.overfit_batch:
        first = runs.seed_state(train.averaged(runs.selected(trained)), 0)
        figures |= experiment.figures(first, experiment.data, runs.evaluation_key(session.plan.seed), metrics)
    plots.save_figures(figures, session.run_dir / "figures")


def smoke_metrics(config: Any, build: Build, smoke: dict[str, Any]) -> dict[str, float]:
    """The metrics of a run's smoke twin: one seed on one device, the same configuration but for the smoke fields.

    They let another machine, or later code, see in seconds whether it still computes the same.
    """
    experiment = build(dataclasses.replace(config, **smoke))
    plan = make_plan(Options(seeds=1, devices=1), alone=True)
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


def _health(
    experiment: Experiment,
    metrics: dict[str, dict[str, Any]],
    trained: runs.Run,
    rows: list[dict[str, Any]],
    overfit_batch: bool,
) -> str:
    """rows: of `metrics.jsonl`. More than half of a phase's steps skipped by a seed are no training."""
    values = [value for measure in metrics.values() for value in measure["per_seed"]]
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(trained.states.params)]
    if not all(map(math.isfinite, values)) or not all(np.isfinite(leaf).all() for leaf in leaves):
        return "diverged"
    last_steps = np.asarray(trained.states.step)
    for phase, counts in rundir.skipped_steps(rows, len(last_steps)).items():
        # of the last phase each seed has its own number of steps, where some have stopped early
        ends = last_steps if phase == int(trained.phase) else max(r["step"] for r in rows if r["phase"] == phase)
        if (2 * np.asarray(counts) > ends).any():
            return "diverged"
    if overfit_batch:
        return overfit.told(metrics, experiment.phases)
    return "ok" if experiment.health is None else experiment.health(metrics)


def _show(receipt: dict[str, Any], run_dir: Path) -> None:
    say("")
    show_table(receipt["metrics"], receipt["plan"]["seeds"])
    say(f"data     {receipt['data']}   health {receipt['health']}   {receipt['wall_s']:.1f} s on {receipt['device']}")
    say(f"figures  {run_dir / 'figures'}")
    say(f"receipt  {run_dir / 'receipt.json'}")
