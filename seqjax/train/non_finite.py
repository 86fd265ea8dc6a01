"""Where values cease to be finite: a function run operation by operation, and the first of them that is to blame."""

import collections
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jaxtyping import PyTree


class Origin(NamedTuple):
    """The operation whose result is not finite although all that it was given is; `operation` is `input` for an
    argument that came so.

    where: file, line and function for an operation, those of the call where it is inside one of JAX's own functions;
        the path of the array for an input.
    found: how many of how many values are what, and for an operation how large what it was given is.
    """

    operation: str
    where: str
    found: str

    def __str__(self) -> str:
        if self.operation == "input":
            return f"{self.where} came with {self.found}"
        return f"{self.operation} at {self.where} gives {self.found}"


def first_non_finite(function: Callable[[Any], Any], argument: PyTree) -> dict[str, Origin]:
    """For each result of `function(argument)` that is not finite, by its path, what made it so.

    Only what reaches a result counts: an infinity that a mask removes is no fault. Calls, loops and branches are
    entered where their result is bad and what they were given is not; so the price is that of the whole and of the
    bad part once more, operation by operation.
    """
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(argument)
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(argument)]
    values = jax.tree.map(jnp.asarray, jax.tree.leaves(argument))
    inputs = [_came_in(name, value) for name, value in zip(names, values, strict=True)]
    _, origins = _evaluated(closed.jaxpr, closed.consts, values, inputs)
    paths = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    return {path: origin for path, origin in zip(paths, origins, strict=True) if origin is not None}


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path)


def _is_bad(value: Any) -> bool:
    if not jax.dtypes.issubdtype(value.dtype, np.inexact):
        return False
    return not bool(np.isfinite(np.asarray(value)).all())


def _found(value: Any) -> str:
    """`3 nan of 128 values of float32[2,64]`."""
    array = np.asarray(value)
    kinds = {"nan": int(np.isnan(array).sum()), "infinite": int(np.isinf(array).sum())}
    said = " and ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return f"{said} of {array.size} values of {_type(array)}"


def _type(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _came_in(name: str, value: Any) -> Origin | None:
    return Origin("input", name, _found(value)) if _is_bad(value) else None


Values, Origins = list[Any], list["Origin | None"]


def _evaluated(jaxpr: Any, consts: Values, args: Values, inputs: Origins, called: str = "") -> tuple[Values, Origins]:
    """The results, and for each that is bad its origin. called: the place that it is called from."""
    known: dict[Any, tuple[Any, Origin | None]] = {}

    def read(atom: Any) -> tuple[Any, Origin | None]:
        return (atom.val, None) if isinstance(atom, jex.Literal) else known[atom]

    for var, value in zip(jaxpr.constvars, consts, strict=True):
        known[var] = value, _came_in("a constant", value)
    for var, value, origin in zip(jaxpr.invars, args, inputs, strict=True):
        known[var] = value, origin
    last_use = _last_uses(jaxpr)
    for number, eqn in enumerate(jaxpr.eqns):
        given = [read(atom) for atom in eqn.invars]
        values, origins = _one(jaxpr, eqn, [value for value, _ in given], [origin for _, origin in given], called)
        for var, value, origin in zip(eqn.outvars, values, origins, strict=True):
            known[var] = value, origin
        for var in last_use[number]:
            known.pop(var, None)
    results = [read(atom) for atom in jaxpr.outvars]
    return [value for value, _ in results], [origin for _, origin in results]


def _last_uses(jaxpr: Any) -> dict[int, list[Any]]:
    """Which variables are not needed after which operation, so that they are not all held at once."""
    last = {}
    for number, eqn in enumerate(jaxpr.eqns):
        last |= {var: number for var in eqn.invars if not isinstance(var, jex.Literal)}
    for var in jaxpr.outvars:
        if not isinstance(var, jex.Literal):
            last.pop(var, None)
    uses = collections.defaultdict(list)
    for var, number in last.items():
        uses[number].append(var)
    return uses


def _one(jaxpr: Any, eqn: Any, args: Values, inputs: Origins, called: str) -> tuple[Values, Origins]:
    values = _run(jaxpr, eqn, args)
    bad = [_is_bad(value) for value in values]
    if not any(bad):
        return values, [None] * len(values)
    if eqn.primitive.name == "select_n":
        inputs = _chosen(args, inputs, values[0])
    given = next((origin for origin in inputs if origin is not None), None)
    place = _place(eqn) or called
    inner = _entered(eqn, args, inputs, place) if given is None or eqn.primitive.name in ENTERED else None
    origins = [None] * len(values) if inner is None else inner
    return values, [
        (origin or given or _origin(eqn, value, args, place)) if is_bad else None
        for value, origin, is_bad in zip(values, origins, bad, strict=True)
    ]


def _chosen(args: Values, inputs: Origins, value: Any) -> Origins:
    """Those of the cases alone that the values which are bad were chosen from."""
    which = np.broadcast_to(np.asarray(args[0]), value.shape)[~np.isfinite(np.asarray(value))]
    return [origin if case in which else None for case, origin in enumerate(inputs, -1)]


def _run(jaxpr: Any, eqn: Any, args: Values) -> Values:
    """One operation of it alone, as a program of its own."""
    given = {atom: value for atom, value in zip(eqn.invars, args, strict=True) if not isinstance(atom, jex.Literal)}
    alone = jaxpr.replace(constvars=[], invars=list(given), outvars=list(eqn.outvars), eqns=[eqn])
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, []))(*given.values())


def _place(eqn: Any) -> str:
    """Empty inside of what JAX has jitted itself."""
    # JAX has no public name for the line that an operation comes from
    from jax._src import source_info_util

    return source_info_util.summarize(eqn.source_info)


def _origin(eqn: Any, value: Any, args: Values, place: str) -> Origin:
    given = [np.asarray(arg) for arg in args if jax.dtypes.issubdtype(arg.dtype, np.number)]
    sizes = [f"{_type(array)} up to {np.abs(array).max(initial=0):.3g}" for array in given]
    found = f"{_found(value)}, from {' and '.join(sizes) or 'no numbers'}"
    return Origin(eqn.primitive.name, place, found)


def _entered(eqn: Any, args: Values, inputs: Origins, place: str) -> Origins | None:
    """The origins of a call's, a loop's or a branch's results; `None` for what cannot be entered."""
    enter = ENTERED.get(eqn.primitive.name)
    return None if enter is None else enter(eqn.params, args, inputs, place)


def _call(params: dict[str, Any], args: Values, inputs: Origins, place: str) -> Origins:
    inner = next(params[name] for name in ("jaxpr", "call_jaxpr") if name in params)
    jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
    return _evaluated(jaxpr, consts, args, inputs, place)[1]


def _branch(params: dict[str, Any], args: Values, inputs: Origins, place: str) -> Origins:
    branches = params["branches"]
    chosen = branches[min(max(int(args[0]), 0), len(branches) - 1)]
    return _evaluated(chosen.jaxpr, chosen.consts, args[1:], inputs[1:], place)[1]


def _while(params: dict[str, Any], args: Values, inputs: Origins, place: str) -> Origins:
    condition, body = params["cond_jaxpr"], params["body_jaxpr"]
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    asked, held, held_origins = args[:first], args[first:second], inputs[first:second]
    carry, origins = args[second:], inputs[second:]
    while bool(_evaluated(condition.jaxpr, condition.consts, [*asked, *carry], [None] * (first + len(carry)))[0][0]):
        carry, origins = _evaluated(body.jaxpr, body.consts, [*held, *carry], [*held_origins, *origins], place)
    return origins


def _held_and_carried(params: dict[str, Any]) -> tuple[int, int]:
    """How many arguments of a scan stay the same at all steps, and how many are its carry."""
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    # since jax 0.12 a scan keeps the tree of its arguments in place of their numbers
    consts, carry, _ = (list(group) for group in params["ft_in"].unpack())
    return len(consts), len(carry)


def _scan(params: dict[str, Any], args: Values, inputs: Origins, place: str) -> Origins:
    body = params["jaxpr"]
    consts, carries = _held_and_carried(params)
    held, carry, rows = args[:consts], args[consts : consts + carries], args[consts + carries :]
    held_origins, origins = inputs[:consts], inputs[consts : consts + carries]
    row_origins = inputs[consts + carries :]
    stacked: Origins = [None] * (len(body.jaxpr.outvars) - carries)
    steps = range(params["length"])
    for step in reversed(steps) if params["reverse"] else steps:
        values, found = _evaluated(
            body.jaxpr, body.consts, [*held, *carry, *(row[step] for row in rows)],
            [*held_origins, *origins, *row_origins], place,
        )  # fmt: skip
        carry, origins = values[:carries], found[:carries]
        stacked = [before or now for before, now in zip(stacked, found[carries:], strict=True)]
    return [*origins, *stacked]


ENTERED: dict[str, Callable[[dict[str, Any], Values, Origins, str], Origins]] = {
    "scan": _scan,
    "while": _while,
    "cond": _branch,
    **dict.fromkeys(
        ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call"), _call
    ),
}
