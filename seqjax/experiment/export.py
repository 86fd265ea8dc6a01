"""`python -m experiments export RUN_DIR OUTPUT`: a run as programs and weights that need none of this project.

They are of the state that `seqjax.load` gives, which is the one that was evaluated.
"""

import argparse
import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import PyTree

from seqjax.errors import SeqjaxError, UsageError, shown
from seqjax.experiment import rundir
from seqjax.experiment.loading import Loaded, load
from seqjax.experiment.takes import Taken
from seqjax.interop.export import Program, exported, named_weights, streaming, write_export
from seqjax.interop.export.program import first_line, plain

ROWS, OTHER_ROWS = 3, 2  # with which a program is held against the library
STEPS = 12  # of a long sequence


class Export(NamedTuple):
    """programs by name, weights by name, and for each function that is not among them the reason."""

    programs: dict[str, Program]
    weights: dict[str, Array]
    left_out: dict[str, str]


def main(args: list[str]) -> int:
    """Writes the folder and says what is in it; the exit code."""
    parser = Parser("python -m experiments export", description="A run as programs and weights.")
    parser.add_argument("run_dir", type=Path, help="of a run that has saved")
    parser.add_argument("output", type=Path, help="a folder that is not there yet")
    parser.add_argument("--seed", type=int, help="of the run's seeds, default the first")
    try:
        asked = parser.parse_args(args)
        if os.path.lexists(asked.output):
            raise UsageError(f"{asked.output}: is there already, and nothing is overwritten. Name another folder.")
        run = load(asked.run_dir, seed=asked.seed)
        export = export_of(run)
        source = rundir.read_description(asked.run_dir)
        seed = source["plan"]["seed"] if asked.seed is None else asked.seed
        described = {"experiment": source["experiment"], "config": source["config"], "seed": seed}
        write_export(asked.output, export.programs, export.weights, source=described)
    except SeqjaxError as error:
        print(f"export: {shown(str(error))}", file=sys.stderr)
        return error.exit_code
    for name, program in export.programs.items():
        arguments = "; ".join(f"{argument} {form}" for argument, form in program.inputs.items())
        print(f"{name}(weights; {arguments}) -> {program.outputs}")
    for name, reason in export.left_out.items():
        print(f"left out: {name}: {shown(reason)}")
    print(f"{asked.output}: {len(export.programs)} programs, {len(export.weights)} arrays")
    return 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; --help tells the arguments.")


def export_of(run: Loaded) -> Export:
    """Each function of a run whose arguments say what they are, and step by step those that go along a sequence.

    Arguments are those that the function `takes`, and else known by their names: `x` as the test split has it, `z` or
    `code` as `encode` makes it, `label`, `index`, `length` and `lengths` integers [B], `key` a key, `extra` what
    training kept beside the parameters. Rows are any number; so are steps where the function takes any. A program is
    held against the library before it counts.

    Raises UsageError where nothing can be exported.
    """
    weights = _weights(run)
    programs, calls, left_out = {}, {}, {}
    for name, function in run.experiment.functions.items():
        try:
            calls[name] = _call(run, function)
        except UsageError as error:
            left_out[name] = str(error)
    # all parameters, but of what training kept beside them what is read
    kept = weights | {"extra": _read(calls, weights)}
    for name, call in calls.items():
        try:
            programs |= _programs(name, call, kept, weights)
        except UsageError as error:
            left_out[name] = str(error)
    if not programs:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise UsageError(f"nothing of this run can be exported ({reasons or 'it has no functions'}).")
    return Export(programs, named_weights(kept), left_out)


def _weights(run: Loaded) -> dict[str, Any]:
    return {"params": run.state.params, "extra": run.state.extra}


class Call(NamedTuple):
    """`function(weights, *inputs)`, an example of each input, and the axes of those that are no rows."""

    function: Callable[..., PyTree[Array]]
    inputs: dict[str, Any]
    axes: dict[str, str]


def _call(run: Loaded, function: Callable[..., Any]) -> Call:
    arguments = inspect.signature(function).parameters.values()
    if any(argument.kind is argument.VAR_POSITIONAL for argument in arguments):
        raise UsageError("it has arguments without names")
    taken = getattr(function, "takes", Taken({}, {}))
    _, *names = [
        argument.name
        for argument in arguments
        if argument.kind is argument.POSITIONAL_OR_KEYWORD
        and (argument.default is argument.empty or argument.name in taken.fields)
    ]
    inputs = {name: _example(run, name, taken) for name in names if name != "extra"}
    axes = {name: axes for name, axes in taken.axes.items() if name in inputs}

    def called(weights: dict[str, Any], *given: Any) -> PyTree[Array]:
        named = dict(zip(inputs, given, strict=True)) | {"extra": weights["extra"]}
        return function(weights["params"], **{name: named[name] for name in names})

    return Call(called, inputs, axes)


def _read(calls: Mapping[str, Call], weights: dict[str, Any]) -> dict[str, PyTree[Array]]:
    """The entries of `extra` that the functions read: those with arrays that their programs keep as arguments."""
    leaves, read = jax.tree_util.tree_leaves_with_path(weights), set()
    for call in calls.values():
        # one that cannot be lowered says so when it is exported
        with contextlib.suppress(Exception):
            lowered = jax.export.export(jax.jit(call.function))(weights, *call.inputs.values())
            kept = [leaves[place][0] for place in lowered.module_kept_var_idx if place < len(leaves)]
            read |= {jax.tree_util.keystr(path[:2], simple=True, separator="/") for path in kept}
    # what has no arrays costs nothing, and may be asked for: the statistics of a network without any
    return {n: own for n, own in weights["extra"].items() if f"extra/{n}" in read or not jax.tree.leaves(own)}


def _example(run: Loaded, name: str, taken: Taken) -> Array:
    if name in taken.fields:
        value = taken.fields[name]
        return jnp.asarray(np.asarray(value if name in taken.axes else value[:ROWS]))
    x = jnp.asarray(np.asarray(run.experiment.data.test.fields["x"][:ROWS]))
    match name:
        case "x":
            return x
        case "z" | "code" if "encode" in run.experiment.functions:
            return _code(run)
        case "label":
            return jnp.zeros(len(x), jnp.int32)
        case "index":
            return jnp.arange(len(x), dtype=jnp.int32)
        case "length" | "lengths" if x.ndim > 1:
            return jnp.full(len(x), x.shape[1], jnp.int32)
        case "key":
            return jax.random.key(0)
    raise UsageError(f"its argument {name!r} is none that is known by its name")


def _code(run: Loaded) -> Array:
    """What `encode` makes of the examples."""
    try:
        call = _call(run, run.experiment.functions["encode"])
        (code,) = jax.tree.leaves(call.function(_weights(run), *call.inputs.values()))
    except Exception as error:  # of whatever kind a function's own code raises
        raise UsageError(
            f"its argument is what encode makes, which is no single array ({first_line(error)})"
        ) from error
    return jnp.asarray(code)


def _whole(call: Call, weights: dict[str, Any]) -> Program:
    """For any number of steps, or else for as many as the data have."""
    axes = {name: "" if name == "key" else "B, ..." for name in call.inputs} | call.axes
    if "x" in call.inputs and "x" not in call.axes and call.inputs["x"].ndim > 1:
        with contextlib.suppress(UsageError):
            return exported(call.function, weights, call.inputs, axes | {"x": "B, T, ..."})
    return exported(call.function, weights, call.inputs, axes)


def _programs(name: str, call: Call, kept: dict[str, Any], weights: dict[str, Any]) -> dict[str, Program]:
    """The programs of a function, which are given the weights that are kept, and held against it with all of them."""
    program, held = _whole(call, kept), named_weights(kept)
    any_steps = ",T" in program.inputs.get("x", "")
    for rows, most in ((ROWS, STEPS), (OTHER_ROWS, STEPS // 2)):
        steps = min(call.inputs["x"].shape[1], most) if any_steps else None
        inputs = {argument: _cut(call, argument, rows, steps) for argument in call.inputs}
        expected = jax.jit(call.function)(weights, *inputs.values())
        _require_close(program.exported.call(held, *inputs.values()), expected)
    found = {name: program}
    step_by_step = all([str(size) for size in form.shape[:2]] == ["B", "T"] for form in program.exported.out_avals)
    if list(call.inputs) == ["x"] and any_steps and step_by_step:
        found |= _steps(name, call, kept)
    return found


def _steps(name: str, call: Call, weights: dict[str, Any]) -> dict[str, Program]:
    """The function step by step; nothing where it has no recurrence, or is another function step by step."""
    xs = call.inputs["x"][:, :STEPS]
    start, step = streaming(call.function)
    try:
        started = exported(start, weights, {"x": xs[:, 0]})
        carry = jax.eval_shape(start, weights, xs[:, 0])
        stepped = exported(step, weights, {"carry": carry, "x": xs[:, 0]})
        held = named_weights(weights)
        carry, ys = started.exported.call(held, xs[:, 0]), []
        step_on = jax.jit(stepped.exported.call)
        for x in jnp.swapaxes(xs, 0, 1):
            carry, y = step_on(held, carry, x)
            ys.append(y)
        _require_close(jax.tree.map(lambda *y: jnp.stack(y, axis=1), *ys), jax.jit(call.function)(weights, xs))
    except UsageError:
        return {}
    return {f"{name}_start": started, f"{name}_step": stepped}


def _cut(call: Call, name: str, rows: int, steps: int | None) -> Array:
    value = call.inputs[name]
    if name == "key":
        return value
    if name in call.axes:
        return value[: len(value) + rows - ROWS]
    value = value[:rows]
    if steps is None:
        return value
    if name == "x":
        return value[:, :steps]
    return jnp.minimum(value, steps) if name in ("length", "lengths") else value


def _require_close(found: PyTree[Array], expected: PyTree[Array]) -> None:
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(plain(expected)), strict=True)
    if not all(a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs):
        raise UsageError("the exported program says something else than the library")
