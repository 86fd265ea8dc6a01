"""A function of weights and inputs as StableHLO, for any number of rows and, where it takes any, of steps."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax import Array
from jaxtyping import PyTree

from seqjax.errors import UsageError
from seqjax.interop.export.weights import named_weights, weights_like

PLATFORMS = ("cpu", "cuda", "tpu")
"""What one program is lowered for; it runs on whichever of them it is called."""


class Program(NamedTuple):
    """An exported function, called as `program.exported.call(weights, *inputs)` with `weights` as of `named_weights`.

    inputs: names and forms in the order of the call, such as `{"x": "float32[B,T,8]"}`; outputs: their forms.
    """

    exported: jax.export.Exported
    inputs: dict[str, str]
    outputs: str


def exported(
    function: Callable[..., PyTree[Array]],
    params: PyTree[Array],
    inputs: Mapping[str, Any],
    axes: Mapping[str, str] | None = None,
    *,
    platforms: Sequence[str] = PLATFORMS,
) -> Program:
    """`function(params, *inputs)` lowered for weights and inputs of these shapes and dtypes; only shapes are read.

    inputs: arrays, or shapes alone, by name, in the order of the arguments; nested ones are a tree each.
    axes: for an input the names of its axes, which then may have any length: `B, ...` (the default) for rows, or
        `B, T, ...`; the language is that of `jax.export.symbolic_shape`. An input without axes (`""`) is fixed.

    Named tuples go in and come out as dicts, so that a reader needs none of our types.

    Raises `UsageError` where axes do not fit their input, or the function cannot be traced with them or not lowered for
    a platform.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from seqjax import exported
        >>> program = exported(lambda params, x: x @ params["w"], {"w": jnp.ones((3, 2))}, {"x": jnp.zeros((1, 3))})
        >>> program.inputs, program.outputs
        ({'x': 'float32[B,3]'}, 'float32[B,2]')
        >>> again = jax.export.deserialize(program.exported.serialize())
        >>> print(again.call({"w": jnp.ones((3, 2))}, jnp.ones((2, 3))))
        [[3. 3.]
         [3. 3.]]
    """
    axes = dict.fromkeys(inputs, "B, ...") | dict(axes or {})
    if set(axes) != set(inputs):
        raise UsageError(f"axes: found names {list(axes)}, expected some of the inputs {list(inputs)}")
    scope = jax.export.SymbolicScope()
    forms = {
        name: jax.tree.map(lambda leaf, spec=axes[name]: _form(leaf, spec, scope), plain(value))
        for name, value in inputs.items()
    }

    def called(weights: dict[str, Array], *arguments: Any) -> PyTree[Array]:
        given = [restored(a, like) for a, like in zip(arguments, inputs.values(), strict=True)]
        return plain(function(weights_like(weights, like=params), *given))

    weights = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), named_weights(params))
    try:
        lowered = jax.export.export(jax.jit(called), platforms=tuple(platforms))(weights, *forms.values())
    except Exception as error:  # of whatever kind a function's own code raises on an axis without a number
        what = ", ".join(f"{name} {_described(form)}" for name, form in forms.items())
        # which tracer met which method is told by the cause
        untraced = isinstance(error, jax.errors.JAXTypeError)
        reason = "it has steps that cannot be traced, in NumPy or plain Python" if untraced else first_line(error)
        raise UsageError(f"cannot be exported for {what}: {reason}") from error
    outputs = jax.tree.unflatten(lowered.out_tree, lowered.out_avals)
    return Program(lowered, {name: _described(form) for name, form in forms.items()}, _described(outputs))


def plain(tree: Any) -> Any:
    """The tree with its named tuples as dicts."""
    if hasattr(tree, "_asdict"):
        return plain(tree._asdict())
    match tree:
        case dict():
            return {name: plain(value) for name, value in tree.items()}
        case tuple() | list():
            return tuple(plain(value) for value in tree)
    return tree


def restored(tree: Any, like: Any) -> Any:
    """The tree of `plain` with the named tuples of `like`."""
    if hasattr(like, "_asdict"):
        return type(like)(**restored(tree, like._asdict()))
    match like:
        case dict():
            return {name: restored(tree[name], value) for name, value in like.items()}
        case tuple() | list():
            return type(like)(restored(value, other) for value, other in zip(tree, like, strict=True))
    return tree


def _form(leaf: Any, spec: str, scope: jax.export.SymbolicScope) -> jax.ShapeDtypeStruct:
    shape = tuple(leaf.shape)
    if not spec or not shape:
        return jax.ShapeDtypeStruct(shape, leaf.dtype)
    try:
        axes = jax.export.symbolic_shape(spec, like=shape, scope=scope)
    except Exception as error:  # of whatever kind the reader of the text has
        raise UsageError(f"axes {spec!r} for {_text(leaf)}: {first_line(error)}") from None
    if len(axes) != len(shape):
        raise UsageError(f"axes {spec!r} for {_text(leaf)}: found {len(axes)}, expected {len(shape)}")
    return jax.ShapeDtypeStruct(axes, leaf.dtype)


def _described(tree: PyTree[Any]) -> str:
    """`float32[B,T,8]`; of several arrays by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    texts = {"/".join(str(getattr(e, "key", getattr(e, "idx", e))) for e in path): _text(leaf) for path, leaf in leaves}
    return texts[""] if list(texts) == [""] else ", ".join(f"{name} {text}" for name, text in texts.items())


def _text(leaf: Any) -> str:
    return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"


def first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
