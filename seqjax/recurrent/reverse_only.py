"""A mark on values whose derivative exists in reverse mode only.

`jax.custom_vjp` refuses forward mode with a message that does not say what to do, and under `jit` it does so outside
of any frame of ours. The mark is the identity; its tangent transposes like the identity, and raises where forward mode
would evaluate it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import PyTree

from seqjax.errors import UsageError

marked_p = Primitive("reverse_only")
tangent_p = Primitive("reverse_only_tangent")


def refuse(*_, **__):
    raise UsageError(
        "sweep: its hand-written derivative works in reverse mode only (grad, vjp, jacrev); "
        "for forward mode (jvp, jacfwd, hessian, linearize) use `unroll`, which has the same arguments and values"
    )


for primitive in (marked_p, tangent_p):
    primitive.def_abstract_eval(lambda x: x)
    batching.defvectorized(primitive)

marked_p.def_impl(lambda x: x)
mlir.register_lowering(marked_p, lambda context, x: [x])
ad.defjvp(marked_p, lambda tangent, x: tangent_p.bind(tangent))

tangent_p.def_impl(refuse)
mlir.register_lowering(tangent_p, refuse)
ad.deflinear2(tangent_p, lambda cotangent, x: [cotangent])


def reverse_only(tree: PyTree[Any]) -> PyTree[Array]:
    """The same arrays, differentiable in reverse mode only."""
    return jax.tree.map(lambda x: marked_p.bind(jnp.asarray(x)), tree)
