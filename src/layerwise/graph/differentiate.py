"""Differentiation, graph to graph: reverse mode, forward mode and Jacobians.

Only `Op.vjp` and `Op.slopes` say what an operation's derivative is. Forward mode follows from reverse
mode: a vjp is linear in the upstream gradient, and differentiating it by that gradient transposes it.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from layerwise.errors import GraphError, shape_text
from layerwise.graph.node import OPS, Node, constant, is_source, placeholder
from layerwise.graph.order import dependents, order, require_node, require_shape
from layerwise.types import Shape


@overload
def gradient(cost: Node, wrt: Node) -> Node: ...
@overload
def gradient(cost: Node, wrt: Sequence[Node]) -> list[Node]: ...
def gradient(cost: Node, wrt: Node | Sequence[Node]) -> Node | list[Node]:
    """The gradient of a scalar by one or several nodes, in shape convention.

    Parameters
    ----------
    cost : Node of shape ()
    wrt : Node or sequence of Node
        Inputs, parameters, or nodes inside the graph such as a pre-activation.

    Returns
    -------
    Node or list of Node
        Each with the shape of the node it belongs to; zeros where the cost does not depend on it.
        They are graphs of the same operations: differentiate again for second derivatives.

    Raises
    ------
    GraphError
        The cost is not a scalar, or a ``wrt`` is not a real node.

    Notes
    -----
    One reverse sweep over the graph gives all gradients: downstream gradient = upstream gradient
    × local gradient, and the gradients of several branches add.

    Examples
    --------
    >>> import layerwise as lw
    >>> w = lw.parameter("w", (3,))
    >>> lw.evaluate(lw.gradient(lw.sum(w * w), w), {w: [1.0, 2.0, 3.0]})
    array([2., 4., 6.])
    """
    require_node(cost, "The cost")
    if cost.shape != ():
        raise GraphError(
            f"gradient needs a scalar cost; got shape {shape_text(cost.shape)}. "
            "Reduce it with layerwise.mean or layerwise.sum, or use layerwise.jacobian."
        )
    many = _wrt(wrt)
    grads = _derived(pull_back([cost], [constant(1.0)], many), [cost])
    return grads[0] if isinstance(wrt, Node) else grads


_ORIGINS: weakref.WeakKeyDictionary[Node, weakref.WeakSet[Node]] = weakref.WeakKeyDictionary()
"""Derivatives, and the inputs and parameters of what they are derivatives of."""


def _derived(results: list[Node], outputs: Sequence[Node]) -> list[Node]:
    """``results``, noted as derivatives of ``outputs``."""
    found = sources(outputs)
    for node in results:
        _ORIGINS.setdefault(node, weakref.WeakSet()).update(found)
    return results


def sources(outputs: Sequence[Node]) -> set[Node]:
    """The inputs and parameters behind ``outputs``, and those behind what they are derivatives of.

    A derivative may have lost some: that of W x by W holds no W. Still they belong to it.
    """
    nodes = order(outputs)
    behind = (_ORIGINS.get(node, ()) for node in nodes)
    return {node for node in nodes if is_source(node)}.union(*behind)


def pull_back(outputs: Sequence[Node], seeds: Sequence[Node], wrt: Sequence[Node]) -> list[Node]:
    """One reverse sweep: Σ seed · ∂output/∂w for every w in ``wrt``, in shape convention.

    Parameters
    ----------
    outputs, seeds : sequences of Node
        A seed has its output's shape: the gradient of some scalar by that output.
    wrt : sequence of Node
    """
    nodes = order(outputs)
    active = dependents(nodes, wrt)
    wanted = set(wrt)
    upstream: dict[Node, Node] = {}
    for output, seed in zip(outputs, seeds, strict=True):
        _accumulate(upstream, output, seed)
    found: dict[Node, Node] = {}
    for node in reversed(nodes):
        if node not in active or node not in upstream:
            continue
        g = upstream.pop(node)
        if node in wanted:
            found[node] = g
        if not any(x in active for x in node.inputs):
            continue
        for x, part in zip(node.inputs, local_vjp(node, g), strict=True):
            if x in active and part is not None:
                _accumulate(upstream, x, part)
    return [found[w] if w in found else zeros(w.shape) for w in wrt]


def local_vjp(node: Node, g: Node) -> tuple[Node | None, ...]:
    """For each input of ``node``: upstream gradient ``g`` × local gradient; None where there is none."""
    if node.op.slopes is not None:
        return tuple(_scaled(g, slope(*node.inputs, node, **node.attributes)) for slope in node.op.slopes)
    if node.op.vjp is None:
        return (None,) * len(node.inputs)
    return node.op.vjp(g, node, *node.inputs, **node.attributes)


def jvp(outputs: Node | Sequence[Node], wrt: Node | Sequence[Node], tangents: Any) -> Any:
    """Forward mode: the change of ``outputs`` when each ``wrt`` moves along its tangent.

    Parameters
    ----------
    outputs : Node or sequence of Node
    wrt : Node or sequence of Node
    tangents : Node, array or number, or a sequence of them for a sequence of nodes
        Directions; each broadcasts to the shape of its ``wrt``.

    Returns
    -------
    Node or list of Node
        J · tangent, with the shapes of ``outputs``.

    Raises
    ------
    GraphError, ShapeError
        A ``wrt`` that is no real node; a tangent whose shape does not fit.

    Examples
    --------
    >>> import layerwise as lw
    >>> x = lw.input("x", (2,))
    >>> lw.evaluate(lw.jvp(lw.square(x), x, [1.0, 0.0]), {x: [3.0, 4.0]})
    array([6., 0.])
    """
    many = [outputs] if isinstance(outputs, Node) else list(outputs)
    tangents = [tangents] if isinstance(wrt, Node) else list(tangents)
    wrt = _wrt(wrt)
    if len(wrt) != len(tangents):
        raise GraphError(f"jvp needs one tangent for each wrt; got {len(tangents)} for {len(wrt)}.")
    moved: dict[Node, Node] = {w: _expanded(t, w.shape) for w, t in zip(wrt, tangents, strict=True)}
    nodes = order(many)
    active = dependents(nodes, wrt)
    for node in nodes:
        if node in active and any(x in moved for x in node.inputs):
            tangent = _local_jvp(node, [moved.get(x) for x in node.inputs])
            if tangent is not None:  # a wrt that depends on another one also moves with it
                moved[node] = moved[node] + tangent if node in moved else tangent
    result = _derived([moved[n] if n in moved else zeros(n.shape) for n in many], many)
    return result[0] if isinstance(outputs, Node) else result


def _local_jvp(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    if node.op.slopes is not None:
        total: Node | None = None
        for slope, tangent in zip(node.op.slopes, tangents, strict=True):
            if tangent is None:
                continue
            part = _scaled(tangent, slope(*node.inputs, node, **node.attributes))
            if part is not None:
                total = part if total is None else total + part
        return None if total is None else _expanded(total, node.shape)
    # The vjp u ↦ uᵀJ is linear in u; pulling the tangent back through it gives J · tangent.
    u = placeholder(node.shape)
    pairs = [
        (part, tangent)
        for part, tangent in zip(local_vjp(node, u), tangents, strict=True)
        if part is not None and tangent is not None
    ]
    if not pairs:
        return None
    parts = [unbroadcast(part, tangent.shape) for part, tangent in pairs]
    return pull_back(parts, [tangent for _, tangent in pairs], [u])[0]


def jacobian(y: Node, x: Node) -> Node:
    """The Jacobian ∂y/∂x in numerator layout, one for each sample where both have a sample axis.

    Parameters
    ----------
    y, x : Node
        ``x`` may be an input, a parameter, or a node inside the graph.

    Returns
    -------
    Node
        Shape: the axes of ``y``, then the axes of ``x`` in reverse order. So y (n,) by x (m,) gives
        (n, m); a scalar by a matrix (n, m) gives (m, n), the transpose of `gradient`. Where both
        have the same leading named axis, it stays in front, once: y (N, n) by x (N, m) gives (N, n, m).
        Where only ``y`` has it, every sample's Jacobian by the shared ``x`` is given: (N, n, m).

    Raises
    ------
    GraphError
        A step between ``x`` and ``y`` mixes samples, so there is no Jacobian for each of them; or
        the result would need an axis of unknown size twice.

    Notes
    -----
    Built from reverse sweeps (one for each output of a sample) or forward sweeps (one for each
    coordinate of ``x``), whichever are fewer.
    """
    require_node(y, "y")
    _wrt([x])
    sample = y.shape[:1] if y.shape and isinstance(y.shape[0], str) else ()
    shared = bool(sample) and x.shape[:1] == sample
    y_own, x_own = y.shape[len(sample) :], x.shape[1:] if shared else x.shape
    for name, own in (("y", y_own), ("x", x_own)):
        if any(isinstance(d, str) for d in own):
            raise GraphError(
                f"jacobian: {name} has shape {shape_text((y if name == 'y' else x).shape)}; only a leading axis "
                "that both share, or that only y has, may be named. Reduce or reshape it first."
            )
    if shared:
        _require_separate_samples(y, x, sample)
    reverse = shared or not sample
    n_out, n_in = _count(y_own), _count(x_own)
    if reverse and n_out <= n_in:
        rows = [_axes_reversed(pull_back([y], [_basis(y.shape, y_own, k)], [x])[0], len(x_own)) for k in range(n_out)]
        stacked = _stack(rows, (*sample, *reversed(x_own)), axis=len(sample))
        return _derived([_reshape(stacked, (*sample, *y_own, *reversed(x_own)))], [y])[0]
    columns = [jvp(y, [x], [_basis(x.shape, x_own, k)]) for k in range(n_in)]
    stacked = _stack(columns, y.shape, axis=y.ndim)
    return _derived([_axes_reversed(_reshape(stacked, (*y.shape, *x_own)), len(x_own))], [y])[0]


def _require_separate_samples(y: Node, x: Node, sample: Shape) -> None:
    nodes = order([y])
    between = dependents(nodes, [x])
    for node in nodes:
        if node not in between:
            continue
        if node.shape[:1] != sample:
            raise GraphError(
                f"jacobian: {node!r} lies between x and y and mixes samples (its first axis is not "
                f"{sample[0]!r}), so there is no Jacobian for each sample."
            )
        # A second sample axis, as in a Gram matrix; rows in another order; a softmax along the samples.
        along = node is not x and (
            any(n.shape.count(sample[0]) > 1 for n in (node, *node.inputs))
            or (node.op.name in ("take", "scatter") and node.inputs[0] in between)
            or (node.op.name in ("softmax", "log_softmax") and node.ndim == 1)
        )
        if along:
            raise GraphError(
                f"jacobian: {node!r} lies between x and y and mixes samples (it combines values along the axis "
                f"{sample[0]!r}), so there is no Jacobian for each sample."
            )


def _count(shape: Shape) -> int:
    return int(np.prod([d for d in shape if isinstance(d, int)], dtype=np.int64))


def _basis(shape: Shape, own: Shape, k: int) -> Node:
    """The k-th unit array of shape ``own``, the same for every sample."""
    unit = np.zeros(_count(own))
    unit[k] = 1.0
    return _expanded(constant(unit.reshape([d for d in own if isinstance(d, int)])), shape)


def _stack(parts: Sequence[Node], shape: Shape, axis: int) -> Node:
    wide = (*shape[:axis], 1, *shape[axis:])
    if not parts:
        return zeros((*shape[:axis], 0, *shape[axis:]))
    return OPS["concat"](*(_reshape(p, wide) for p in parts), axis=axis)


def _axes_reversed(node: Node, count: int) -> Node:
    """``node`` with its last ``count`` axes in reverse order."""
    if count < 2:
        return node
    keep = node.ndim - count
    return OPS["transpose"](node, axes=(*range(keep), *reversed(range(keep, node.ndim))))


def _reshape(node: Node, shape: Shape) -> Node:
    return node if node.shape == shape else OPS["reshape"](node, shape=shape)


def zeros(shape: Shape) -> Node:
    """Zeros of ``shape`` as a node."""
    return _expanded(constant(0.0), shape)


def _expanded(value: Any, shape: Shape) -> Node:
    node = value if isinstance(value, Node) else constant(np.asarray(value, dtype=np.float64))
    return node if node.shape == shape else OPS["broadcast_to"](node, shape=shape)


def unbroadcast(g: Node, shape: Shape) -> Node:
    """``g`` summed over the axes along which a value of ``shape`` had been broadcast."""
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        extra + i for i, (size, came) in enumerate(zip(shape, g.shape[extra:], strict=True)) if size == 1 != came
    )
    summed = OPS["sum"](g, axes=axes, keepdims=False)
    return _reshape(summed, shape)


def _accumulate(upstream: dict[Node, Node], node: Node, part: Node) -> None:
    part = unbroadcast(part, node.shape)
    require_shape(part, node.shape, f"The gradient by {node!r}")
    upstream[node] = upstream[node] + part if node in upstream else part


def _scaled(g: Node, slope: Any) -> Node | None:
    """``g × slope`` without the product where the slope is the number 0, 1 or -1."""
    if isinstance(slope, Node):
        return g * slope
    if slope == 0:
        return None
    if slope == 1:
        return g
    return -g if slope == -1 else g * slope


def _wrt(wrt: Node | Sequence[Node]) -> list[Node]:
    if not isinstance(wrt, (Node, list, tuple)):
        raise GraphError(f"wrt must be a node or a list of nodes; got {type(wrt).__name__}.")
    many = [wrt] if isinstance(wrt, Node) else list(wrt)
    for w in many:
        require_node(w, "wrt")
        if w.kind != "real":
            raise GraphError(f"Nothing can be differentiated by {w!r}: it is of kind {w.kind!r}, not 'real'.")
    return many


def hessian_vector(cost: Node, wrt: Node | Sequence[Node], tangents: Any) -> Any:
    """The Hessian of a scalar times a vector: the jvp of its gradient, without the matrix.

    Parameters
    ----------
    cost : Node of shape ()
    wrt : Node or sequence of Node
    tangents : Node, array or number, or a sequence of them for a sequence of nodes
        The vector, one block for each ``wrt``.

    Returns
    -------
    Node or list of Node
        H · tangent, block by block, each with the shape of its ``wrt``.

    References
    ----------
    Pearlmutter (1994), Fast exact multiplication by the Hessian.
    """
    return jvp(gradient(cost, wrt), wrt, tangents)
