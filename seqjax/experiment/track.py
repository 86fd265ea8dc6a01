"""`--track`: the lines of metrics shown to TensorBoard or W&B as well, neither of which can stop or change a run."""

import contextlib
import functools
import hashlib
import importlib.util
import itertools
import json
import math
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seqjax.errors import UsageError
from seqjax.experiment.progress import say

Tracker = Literal["tensorboard", "wandb"]
PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
NAME = "--track "  # what the name of a sink begins with
MOST_WAITING = 100_000  # lines that a sink has still to take, after which it counts as hanging
PATIENCE = 20.0  # seconds that the end of a run waits for its sink; well before other processes take it for dead


class Sink(NamedTuple):
    """Where numbers go beside `metrics.jsonl`: plain functions, which may fail or hang.

    scalars: `(step, {name: value}) -> None`, steps of each name ascending.
    finish: `({name: value}, {name: path of a PNG}) -> None`, what a finished run has measured and drawn.
    close: `() -> None`, after which no other is called.
    """

    scalars: Callable[[int, dict[str, float]], Any]
    finish: Callable[[dict[str, float], dict[str, Path]], Any]
    close: Callable[[], Any]


class Track(NamedTuple):
    """A sink that cannot harm. lines: takes lines of metrics; finish: what a finished run has measured and drawn."""

    lines: Callable[[Sequence[dict[str, Any]]], None]
    finish: Callable[[dict[str, dict[str, Any]], Path], None]


UNTRACKED = Track(lambda rows: None, lambda metrics, figures: None)


def check_tracker(tracker: Tracker | None) -> None:
    """Raises UsageError where the package of a sink is not installed."""
    if tracker is not None and importlib.util.find_spec(PACKAGES[tracker]) is None:
        raise UsageError(
            f"--track {tracker}: the package {PACKAGES[tracker]} is not installed.\n"
            "Install it (pip install '.[track]' has it), or leave out --track."
        )


def opened(tracker: Tracker, run_dir: Path, description: dict[str, Any]) -> Sink:
    """The sink of a run, in its directory. What an earlier process of the same run left there for TensorBoard goes:
    the lines up to the checkpoint are in `metrics.jsonl`, and are shown again.
    """
    return (_tensorboard if tracker == "tensorboard" else _wandb)(run_dir, description)


@contextlib.contextmanager
def tracking(
    name: str,
    open_sink: Callable[[], Sink],
    phases: Sequence[str],
    seeds: Sequence[int],
    *,
    earlier: Sequence[dict[str, Any]] = (),
    patience: float = PATIENCE,
) -> Iterator[Track]:
    """A track that a thread of its own hands on to the sink; its first fault is told in a line, and ends it.

    phases, seeds: names of what a line's phase and its lists stand for. earlier: lines that the sink sees first.
    patience: seconds to wait for the sink at the end. After an error it is not waited for: that is to be told first.
    """
    waiting: queue.Queue = queue.Queue(MOST_WAITING)
    faults: list[str] = []
    told: list[str] = []

    def attempt(action: Callable[..., Any], *given: Any) -> Any:
        try:
            return action(*given)
        except BaseException as error:  # whatever it is, the run has nothing to do with it
            faults.append(" ".join(f"{type(error).__name__}: {error}".split())[:200])
            return None

    def show(row: dict[str, Any], sink: Sink) -> None:
        if values := scalars(row, phases[row["phase"]], seeds):
            sink.scalars(row["step"], values)

    def conclude(metrics: dict[str, dict[str, Any]], figures: Path, sink: Sink) -> None:
        measured = {f"evaluation/{name}": measure["mean"] for name, measure in metrics.items()}
        sink.finish(measured, {path.stem: path for path in sorted(figures.glob("*.png"))})

    def take(sink: Sink) -> None:
        shown = (functools.partial(show, row) for row in earlier)
        for action in itertools.chain(shown, iter(waiting.get, None)):
            if faults:
                return
            action(sink)

    def serve() -> None:
        sink = attempt(open_sink)
        if sink is not None:
            attempt(take, sink)
            attempt(sink.close)

    # a daemon: the end of the process does not wait for one that hangs
    thread = threading.Thread(target=serve, name=name, daemon=True)

    def hand(action: Callable[[Sink], None] | None) -> None:
        if not faults or action is None:
            try:
                waiting.put_nowait(action)
            except queue.Full:
                faults.append(f"takes no more, {MOST_WAITING} lines wait")
        tell()

    def tell() -> None:
        if faults and not told:
            told.append(faults[0])
            say(f"{name}: {faults[0]}; the run goes on without it")

    def lines(rows: Sequence[dict[str, Any]]) -> None:
        for row in rows:
            hand(functools.partial(show, row))

    thread.start()
    try:
        yield Track(lines, lambda metrics, figures: hand(functools.partial(conclude, metrics, figures)))
    except BaseException:
        hand(None)
        raise
    hand(None)
    thread.join(0.0 if told else patience)
    if thread.is_alive() and not faults:
        faults.append(f"has not ended within {patience:.0f} s")
    tell()


def left_behind(patience: float = 0.0) -> bool:
    """Whether a sink of this process has not ended, also after so many seconds more: its package may then wait as
    well when the process ends.
    """
    own = [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]
    with contextlib.suppress(KeyboardInterrupt):  # who asks twice does not wait
        for thread in own:
            thread.join(patience)
    return any(thread.is_alive() for thread in own)


def scalars(row: dict[str, Any], phase: str, seeds: Sequence[int]) -> dict[str, float]:
    """The numbers of a line of metrics by `PHASE/NAME`, a mean over the seeds that have one, and, of several seeds, by
    `PHASE/NAME/seed_K`. One that is not finite is none, as in `metrics.jsonl`.
    """
    found = {}
    for name, values in row.items():
        if isinstance(values, list):
            known = {
                seed: value
                for seed, value in zip(seeds, values, strict=True)
                if value is not None and math.isfinite(value)
            }
            if known:
                found[f"{phase}/{name}"] = sum(known.values()) / len(known)
            if len(seeds) > 1:
                found |= {f"{phase}/{name}/seed_{seed}": value for seed, value in known.items()}
    return found


def _tensorboard(run_dir: Path, description: dict[str, Any]) -> Sink:
    """Event files below `tensorboard/`, written by tensorboardX."""
    from tensorboardX import SummaryWriter

    folder = run_dir / "tensorboard"
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = SummaryWriter(str(folder), flush_secs=10)
    writer.add_text("config", f"```\n{json.dumps(description, indent=2)}\n```")

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def finish(measured: dict[str, float], figures: dict[str, Path]) -> None:
        from matplotlib.image import imread

        write(0, measured)
        for name, path in figures.items():
            writer.add_image(f"figures/{name}", imread(path), dataformats="HWC")

    return Sink(write, finish, writer.close)


def _wandb(run_dir: Path, description: dict[str, Any]) -> Sink:
    """An offline run below `wandb/`, unless `WANDB_MODE` says otherwise; to be sent by `wandb sync`.

    Each process of a run shows it from the first line on, under one id, with which W&B replaces what it has of it.
    """
    import wandb

    identity = json.dumps([str(run_dir.resolve()), description["config"], description["plan"]["seed"]])
    run = wandb.init(
        project=None if "WANDB_PROJECT" in os.environ else "seqjax",
        dir=str(run_dir),
        name=run_dir.name,
        id=hashlib.sha256(identity.encode()).hexdigest()[:16],
        group=description["experiment"],
        config=description,
        mode=None if "WANDB_MODE" in os.environ else "offline",
        settings=wandb.Settings(console="off", silent=True),
    )
    phases = set()

    def write(step: int, values: dict[str, float]) -> None:
        # a phase counts its own steps, and W&B's own step only ever rises
        phase = next(iter(values), "").partition("/")[0]
        if phase not in phases:
            phases.add(phase)
            run.define_metric(f"{phase}/step", hidden=True)
            run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        run.log({**values, f"{phase}/step": step})

    def finish(measured: dict[str, float], figures: dict[str, Path]) -> None:
        run.summary.update(measured)
        run.log({f"figures/{name}": wandb.Image(str(path)) for name, path in figures.items()})

    return Sink(write, finish, run.finish)
