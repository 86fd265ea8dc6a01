"""`--plan`: what a run would take, said before it begins; nothing is written, and no state that is made is kept."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import PyTree

from seqjax import parallel
from seqjax.data.batches import batch_at
from seqjax.errors import UsageError
from seqjax.evaluate.cost import multiply_adds, num_parameters
from seqjax.experiment.programs import Programs, make_programs, run_chapter
from seqjax.experiment.progress import say, silent
from seqjax.experiment.session import Session, make_session
from seqjax.experiment.source import data_key
from seqjax.experiment.state import Run, off_mesh, on_mesh, refreshed, seed_state, start_phase
from seqjax.parallel import Layout
from seqjax.receipt import device_name
from seqjax.types import Experiment, Params, Phase, Split

ENOUGH = 0.5  # seconds of steps, after which the time of one is known
MOST_PARTS = 12


class Preview(NamedTuple):
    """What a phase would take. Bytes are those on one device; seconds are of all seeds, as this machine is now.

    parts: parameters of one seed, by the part of the learner. flops: of the matrix products of a step of one seed, two
        for each multiplication with its addition; `None` where they cannot be counted.
    state, data: of the arrays that train, and of those that are read. memory: the most at one time, in training or in
        validation, the state and the data among it; `None` where it is not known.
    compile_s: of both programs. step_s: of a step, chapter_s: of what follows each chapter (validation), refresh_s: of
        each refresh. train_s: of all steps and all that follows them, if no seed stops early, without what the phase
        enters with.
    """

    name: str
    steps: int
    batch_size: int
    parts: dict[str, int]
    flops: int | None
    state: int
    data: int
    memory: int | None
    streamed: bool
    compile_s: float
    step_s: float
    chapter_s: float
    refresh_s: float
    train_s: float


def previews(session: Session) -> list[Preview]:
    """Of each phase, in order. A few steps of each are taken, from states that its learner starts with.

    Raises UsageError as the run would.
    """
    return [_preview(session, index, phase) for index, phase in enumerate(session.experiment.phases)]


def planned(experiment: Experiment, **options: Any) -> Session:
    """A session whose run lives nowhere, and in which no seed stops: one that stands still would be timed as well.

    options: as of `make_session`.
    """
    phases = tuple(phase._replace(patience=None, finished=None) for phase in experiment.phases)
    return make_session(experiment._replace(phases=phases), run_dir=Path(), reporter=silent, **options)


def step_flops(phase: Phase, split: Split) -> int | None:
    """Operations of the matrix products of one step of one seed on the whole batch, 2 each; nothing is computed.

    From the program as it is written: XLA's own count takes the body of a loop once, however often it runs.
    """
    shapes = {
        name: jax.ShapeDtypeStruct(field.shape, jax.dtypes.canonicalize_dtype(field.dtype))
        for name, field in split.fields.items()
    }

    def step(state: Any, split: Split) -> Any:
        batch = phase.batch_at or batch_at
        return phase.learner.step(state, batch(split, data_key(state.key), state.step, batch_size=phase.batch_size))

    try:
        state = jax.eval_shape(phase.learner.init, jax.eval_shape(lambda: jax.random.key(0)))
        return 2 * multiply_adds(step, state, Split(shapes))
    except UsageError:  # of products in a loop that runs any number of times
        return None


def part_sizes(params: Params) -> dict[str, int]:
    """The number of parameters in each part: a player, a module, an array, whatever there is more than one of."""
    while isinstance(params, dict) and len(params) == 1:
        (params,) = params.values()
    parts = params.items() if isinstance(params, dict) else {"parameters": params}.items()
    return {name: num_parameters(part) for name, part in parts}


def _preview(session: Session, index: int, phase: Phase) -> Preview:
    plan, layout, train = session.plan, session.layout, session.experiment.data.train
    programs = make_programs(session, phase)
    start = start_phase(session.experiment, index, plan.seed_range, None, session.peers)
    run = on_mesh(start, layout)
    parts, held = part_sizes(seed_state(start.states, 0).params), _bytes(run, layout)
    known = (phase.name, phase.steps, phase.batch_size, parts, step_flops(phase, train), held)
    if phase.steps == 0:
        return Preview(*known, 0, None, False, 0.0, 0.0, 0.0, 0.0, 0.0)
    _, part = next(programs.source.parts(run.states, 0, 1))
    data = _bytes(part, layout) + _bytes(programs.validation, layout)
    begin = time.monotonic()
    compiled = [
        programs.boundary.compiled(run, jnp.int32(1), programs.validation),
        programs.dispatch.compiled(run.states, run.active, jnp.int32(1), part),
    ]
    compile_s = time.monotonic() - begin
    needed = [_needed(program.memory_analysis()) for program in compiled]
    memory = None if None in needed else held + data + max(needed)
    # a copy: what was compiled for may have taken the states; what it took to compile again does not count
    run, _, _ = _timed(session, programs, on_mesh(parallel.local(start), layout), 1)
    run, _, chapter_s = _timed(session, programs, run, 1)

    def timed(count: int) -> float:
        nonlocal run
        run, seconds, _ = _timed(session, programs, run, count)
        return seconds

    longest = min(phase.chapter_steps, phase.steps)
    step_s = step_seconds(
        timed,
        longest,
        # seeds side by side compute the steps that are masked as well: a dispatch takes as long with one step
        first=longest if plan.seed_plan == "vmap" else 1,
        # the clock that counts is the first one's
        agreed=lambda count, enough: session.peers.from_first(f"plan {index} {count}", lambda: enough),
    )
    refresh_s, refreshes = 0.0, 0
    if phase.refresh is not None:
        refreshes = phase.steps // (phase.refresh_every or phase.chapter_steps)
        run = off_mesh(run, plan.seeds)
        for _ in range(2 if refreshes else 0):  # the first one compiles
            begin = time.monotonic()
            jax.block_until_ready(refreshed(run, phase, train, session.peers))
            refresh_s = time.monotonic() - begin
    chapters = -(-phase.steps // phase.chapter_steps)
    train_s = phase.steps * step_s + chapters * chapter_s + refreshes * refresh_s
    times = (compile_s, step_s, chapter_s, refresh_s, train_s)
    return Preview(*known, data, memory, programs.source.streamed, *times)


def _timed(session: Session, programs: Programs, run: Run, count: int) -> tuple[Run, float, float]:
    """The run `count` steps on, the seconds that these took, and the seconds of what is decided after them."""
    begin = time.monotonic()
    states, _ = run_chapter(session, programs, run, 0, count)
    jax.block_until_ready(states)
    middle = time.monotonic()
    run, scores = programs.boundary(run._replace(states=states), jnp.int32(count), programs.validation)
    jax.block_until_ready(scores)
    return run, middle - begin, time.monotonic() - middle


def step_seconds(
    timed: Callable[[int], float], longest: int, *, first: int = 1, agreed: Callable[[int, bool], bool]
) -> float:
    """The seconds of a step: those of a chapter whose steps take half a second, less those of its shortest; where even
    a whole chapter takes less, all of its seconds.

    timed: seconds of a chapter of so many steps, at most `longest`; `first` are tried first. agreed: `(steps, whether
    this process has seen enough) -> bool`, the same in all processes.
    """
    count, first_s = first, None
    while True:
        seconds = timed(count)
        if count == longest:
            return seconds / count
        first_s = seconds if first_s is None else first_s
        if agreed(count, seconds - first_s >= ENOUGH):
            return (seconds - first_s) / (count - first)
        count = min(longest, 4 * count)


def _bytes(tree: PyTree[Array], layout: Layout) -> int:
    """Of the parts of all arrays that are on the first of this process's devices."""
    device = next(d for d in layout.mesh.devices.ravel() if d.process_index == jax.process_index())
    leaves = [
        jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves(tree)
    ]
    return sum(shard.data.nbytes for leaf in leaves for shard in leaf.addressable_shards if shard.device == device)


def _needed(stats: Any) -> int | None:
    """Bytes of a program beside its arguments: temporary arrays, and results that are not written in their place.

    `None` where XLA does not say.
    """
    if stats is None:
        return None
    return stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes


def show(session: Session, found: list[Preview]) -> None:
    """A table with a line for each phase, and what it rests on."""
    from rich.console import Console
    from rich.table import Table

    plan = session.plan
    arrays, times = ("parameters", "state", "data", "memory"), ("FLOPs/step", "compile", "ms/step", "steps", "training")
    drawn = Table("phase", *arrays, *times)
    for column in drawn.columns:
        column.overflow = "fold"
    for p in found:
        drawn.add_row(
            p.name, f"{sum(p.parts.values()):,}", _size(p.state), _size(p.data) + " streamed" * p.streamed,
            _size(p.memory), "unknown" if p.flops is None else _scaled(p.flops, ""),
            _time(p.compile_s), f"{1000 * p.step_s:.3g}", f"{p.steps:,}", _time(p.train_s),
        )  # fmt: skip
    seeds = f"{plan.seeds} seed(s) by {plan.seed_plan}"
    devices = f"{plan.devices} {plan.platform} device(s) of {plan.processes} process(es) by {plan.driver}"
    batches = " and ".join(dict.fromkeys(f"{p.batch_size}" for p in found))
    say(f"{seeds}, on {devices}: {device_name()}; batches of {batches}")
    (Console() if sys.stdout.isatty() else Console(width=140)).print(drawn)
    for p in found:
        shown = [f"{name} {size:,}" for name, size in list(p.parts.items())[:MOST_PARTS]]
        more = len(p.parts) - len(shown)
        say(f"{p.name}: parameters of a seed: {', '.join(shown)}{f', and {more} more parts' if more else ''}")
        if p.refresh_s:
            say(f"{p.name}: a refresh takes {_time(p.refresh_s)}; the time of training has all of them")
    say("bytes: on one device; memory is the most in training or validation, state and data among it")
    say("FLOPs: of the matrix products of one seed's step; times: of all seeds, measured on a few steps")
    say("not among them: evaluation, checkpoints, and what a phase does before its first step")
    total = sum(p.compile_s + p.train_s for p in found)
    say(f"predicted: {_time(total)} to compile and train, if no seed stops early")


def _size(count: int | None) -> str:
    return "unknown" if count is None else _scaled(count, "B")


def _scaled(count: int | float, unit: str) -> str:
    prefixes = ("", "k", "M", "G", "T", "P")
    power = 0
    while count >= 999.5 and power < len(prefixes) - 1:  # as is it would be shown as 1e+03
        count, power = count / 1000, power + 1
    return f"{count:.3g} {prefixes[power]}{unit}".rstrip()


def _time(seconds: int | float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.2g} min" if seconds < 597 else f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.3g} h"
