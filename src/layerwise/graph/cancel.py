"""Cancellation: a derivative as a sum of products, in which equal factors divide out.

This is how the general form of a sensitivity becomes the short one. For softmax with cross-entropy
the chain rule gives ``A ⊙ (D - Σ D ⊙ A)`` with ``D = -(1/N) T ⊘ A``; dividing A out leaves
``-(1/N) T + (1/N) A Σ T``, and a target row sums to 1, so what remains is ``(1/N)(A - T)``.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerwise.graph.node import OPS, Node, constant, constant_value, size
from layerwise.types import Dim

Powers = tuple[tuple[Node, int], ...]
"""Factors with their exponents, in order of first appearance."""


@dataclass(frozen=True)
class Term:
    """A number times a product of powers of nodes."""

    factor: float
    powers: Powers

    def times(self, other: Term) -> Term:
        """The product; exponents of equal factors add, and what becomes 0 is gone."""
        exponents = dict(self.powers)
        for node, exponent in other.powers:
            exponents[node] = exponents.get(node, 0) + exponent
        return Term(self.factor * other.factor, tuple((n, e) for n, e in exponents.items() if e))

    def inverse(self) -> Term:
        """1 / term."""
        return Term(1.0 / self.factor, tuple((n, -e) for n, e in self.powers))


@dataclass(frozen=True)
class Given:
    """What is known of the nodes from which a derivative is built.

    Parameters
    ----------
    distributions : set of Node
        Their last axis sums to 1.
    leaves : set of Node
        Where the sums and products end: how a leaf was computed is not looked at.
    """

    distributions: frozenset[Node] = frozenset()
    leaves: frozenset[Node] = frozenset()


def cancelled(node: Node, given: Given) -> Node:
    """An equal node in which common factors are divided out and equal terms are joined.

    Parameters
    ----------
    node : Node
        The result of differentiation: sums, products and quotients of other nodes.
    given : Given
        What is known of the nodes it is built from.

    Returns
    -------
    Node
        ``node`` itself where nothing cancels, so that its order of evaluation stays as written.
    """
    if not _has(("divide", "log"), node, given):
        return node
    quotients_gone = _terms(node, given, opaque=True)
    expanded = [t for term in quotients_gone for t in _expand(term, given)]
    terms = _collected(expanded)
    if any(e < 0 for term in terms for _, e in term.powers):
        return node
    return _broadcast(_rebuilt(terms), node)


def _terms(node: Node, given: Given, opaque: bool) -> list[Term]:
    """``node`` as a sum of terms. Opaque: a sum without quotients inside counts as one factor."""
    name, inputs = node.op.name, node.inputs
    value = constant_value(node)
    if value is not None and value.ndim == 0:
        return [Term(float(value), ())]
    if node in given.leaves:
        return [Term(1.0, ((node, 1),))]
    if name in ("add", "subtract") and not (opaque and not _has(("divide",), node, given)):
        sign = Term(1.0 if name == "add" else -1.0, ())
        left, right = (_terms(x, given, opaque) for x in inputs)
        return left + [t.times(sign) for t in right]
    if name == "negative":
        return [t.times(Term(-1.0, ())) for t in _terms(inputs[0], given, opaque)]
    if name == "multiply":
        left, right = (_terms(x, given, opaque) for x in inputs)
        return [a.times(b) for a in left for b in right]
    if name == "divide":
        below = _terms(inputs[1], given, opaque=True)
        under = below[0] if len(below) == 1 and below[0].factor else Term(1.0, ((inputs[1], 1),))
        return [t.times(under.inverse()) for t in _terms(inputs[0], given, opaque)]
    if name == "broadcast_to" and node.ndim == inputs[0].ndim:
        return _terms(inputs[0], given, opaque)
    if name == "sum" and node.attributes["axes"] == (inputs[0].ndim - 1,) and node.attributes["keepdims"]:
        return [_summed(t, inputs[0].shape[-1], given) for t in _terms(inputs[0], given, opaque)]
    return [_log_terms(node)] if name == "log" else [Term(1.0, ((node, 1),))]


def _log_terms(node: Node) -> Term:
    """log f(z) by the one op that computes it without loss: the log of a rounded 0 would be -∞."""
    inner = node.inputs[0]
    if inner.op.name == "exp":
        return Term(1.0, ((inner.inputs[0], 1),))
    if inner.op.name in ("softmax", "sigmoid"):
        return Term(1.0, ((OPS[f"log_{inner.op.name}"](inner.inputs[0]), 1),))
    if inner.op.name == "subtract" and inner.inputs[1].op.name == "sigmoid":
        one = constant_value(inner.inputs[0])
        if one is not None and one.ndim == 0 and one == 1.0:
            return Term(1.0, ((OPS["log_sigmoid"](-inner.inputs[1].inputs[0]), 1),))
    return Term(1.0, ((node, 1),))


def _has(names: tuple[str, ...], node: Node, given: Given) -> bool:
    """Whether ``node`` is built by an op of these names, down to the leaves."""
    stack, seen = [node], set(given.leaves)
    while stack:
        at = stack.pop()
        if at in seen:
            continue
        seen.add(at)
        if at.op.name in names:
            return True
        stack.extend(at.inputs)
    return False


def _summed(term: Term, length: Dim, given: Given) -> Term:
    """Σ over the last axis of a term: what does not vary along it comes out, a distribution gives 1."""
    outside = Term(term.factor, tuple((n, e) for n, e in term.powers if not n.shape or n.shape[-1] == 1))
    inside = tuple((n, e) for n, e in term.powers if n.shape and n.shape[-1] != 1)
    if len(inside) == 1 and inside[0][1] == 1 and inside[0][0] in given.distributions:
        return outside
    if not inside:  # the sum of a term that does not vary along the axis: as often as the axis is long
        return outside.times(Term(float(length), ()) if isinstance(length, int) else Term(1.0, ((size((length,)), 1),)))
    body = _product(Term(1.0, inside))
    return outside.times(Term(1.0, ((OPS["sum"](body, axes=(body.ndim - 1,), keepdims=True), 1),)))


def _expand(term: Term, given: Given) -> list[Term]:
    """The term with its opaque sums multiplied out."""
    result = [Term(term.factor, ())]
    for node, exponent in term.powers:
        parts = _terms(node, given, opaque=False) if exponent > 0 else [Term(1.0, ((node, exponent),))]
        for _ in range(max(exponent, 1)):
            result = [a.times(b) for a in result for b in parts]
    return result


def _collected(terms: list[Term]) -> list[Term]:
    """Equal products joined by adding their numbers."""
    factors: dict[frozenset[tuple[Node, int]], float] = {}
    shown: dict[frozenset[tuple[Node, int]], Powers] = {}
    for term in terms:
        key = frozenset(term.powers)
        shown.setdefault(key, term.powers)
        factors[key] = factors.get(key, 0.0) + term.factor
    return [Term(factor, shown[key]) for key, factor in factors.items() if factor]


def _rebuilt(terms: list[Term]) -> Node:
    """Common factors × (positive terms first, then the negative ones)."""
    if not terms:
        return constant(0.0)
    common = [n for n, _ in terms[0].powers if len(terms) > 1 and all(n in dict(t.powers) for t in terms)]
    shared = Term(1.0, tuple((n, 1) for n in common))
    rest = sorted((t.times(shared.inverse()) for t in terms), key=lambda t: t.factor < 0)
    total = _product(rest[0])
    for term in rest[1:]:
        size = _product(Term(abs(term.factor), term.powers))
        total = total + size if term.factor > 0 else total - size
    return total if not common else _product(shared) * total


def _product(term: Term) -> Node:
    result: Node | None = None
    for node, exponent in term.powers:
        for _ in range(exponent):
            result = node if result is None else result * node
    if result is None:
        return constant(term.factor)
    if term.factor == -1.0:
        return -result
    return result if term.factor == 1.0 else term.factor * result


def _broadcast(result: Node, like: Node) -> Node:
    return result if result.shape == like.shape else OPS["broadcast_to"](result, shape=like.shape)
