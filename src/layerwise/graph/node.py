"""`Node` and `Op`: what a computation graph is made of.

A node is immutable and hash-consed: building the same operation on the same nodes twice gives the
same object, so common parts of a graph are shared without a search. The precision (float32 or
float64) is not part of a graph; it is chosen when the graph is evaluated.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from layerwise.arrays import numeric_array
from layerwise.errors import DataError, GraphError, unknown_name
from layerwise.graph import shapes
from layerwise.graph.keys import key_of
from layerwise.types import Array, Kind, Shape

Attributes = Mapping[str, Any]

OPS: dict[str, Op] = {}
"""Every declared operation by name. The ops room fills it; nothing else does."""


@dataclass(frozen=True, eq=False)
class Op:
    """One operation, declared once: shape rule, values, derivative, notation, kernel.

    Parameters
    ----------
    name : str
        Its name in code, messages and files.
    shape : callable
        ``(*shapes, **attributes) -> Shape``: of the result, or a ShapeError that names all shapes.
    forward : callable
        ``(*arrays, **attributes) -> array``: the definition in NumPy, with which every executor must agree.
    vjp : callable, optional
        ``(g, out, *inputs, **attributes) -> tuple``: for each input the upstream gradient ``g`` times the
        local gradient, as graph. A part may still be broadcast against its input; the reverse sweep sums it
        down. None: no dependence.
    slopes : tuple of callables, optional
        Elementwise ops only: ``(*inputs, out, **attributes)``, the derivative by each input, of arrays or of nodes.
    defaults : mapping
        Attributes and their default values.
    kinds : tuple of str
        Kind of each input ("real", "integer", "boolean"); the last one stands for all further inputs.
    kind : str
        Kind of the result.
    sized : tuple of str
        Attributes that hold shapes; their axis names become numbers before ``forward`` sees them.
    latex, latex_columns : str
        Notation with ``{0}``, ``{1}``, … for the inputs, in the rows and the columns convention.
    kernel : str, optional
        The engine's instruction; None: NumPy only.
    definition : callable, optional
        Composite ops only: ``(*inputs, **attributes) -> Node``, the same value by other ops; the
        derivative is taken from it.
    doc : str
        What it computes, in one sentence.
    arity : int, optional
        Number of inputs; None: any.
    """

    name: str
    shape: Callable[..., Shape]
    forward: Callable[..., Any]
    vjp: Callable[..., tuple[Any, ...]] | None = None
    slopes: tuple[Callable[..., Any], ...] | None = None
    defaults: Attributes = field(default_factory=dict[str, Any])
    kinds: tuple[Kind, ...] = ("real",)
    kind: Kind = "real"
    sized: tuple[str, ...] = ()
    latex: str = ""
    latex_columns: str = ""
    kernel: str | None = None
    definition: Callable[..., Any] | None = None
    doc: str = ""
    arity: int | None = None

    def __call__(self, *inputs: Any, **attributes: Any) -> Any:
        """A node when any input is a node; otherwise the value, computed at once."""
        if self.arity is not None and len(inputs) != self.arity:
            options = f" Options go by name: {', '.join(self.defaults)}." if self.defaults else ""
            values = "value" if self.arity == 1 else "values"
            raise GraphError(f"{self.name} takes {self.arity} {values}; got {len(inputs)}.{options}")
        for name in attributes:
            if name not in self.defaults:
                raise unknown_name(f"argument of {self.name}", name, self.defaults)
        attributes = {**self.defaults, **attributes}
        if any(isinstance(x, Node) for x in inputs):
            return apply(self, *inputs, **attributes)
        arrays = _as_arrays(self, inputs)
        self.shape(*(a.shape for a in arrays), **attributes)
        with np.errstate(all="ignore"):
            return self.forward(*arrays, **attributes)

    def kind_of_input(self, position: int) -> Kind:
        """The kind that the input at ``position`` must have."""
        return self.kinds[min(position, len(self.kinds) - 1)]

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Node:
    """A value in a computation graph: a source, or an operation on other nodes.

    Attributes
    ----------
    op : Op
    inputs : tuple of Node
    attributes : dict
        What else the operation needs, such as the axes of a sum. Not to be changed.
    shape : tuple of int or str
        Sizes; a string names an axis whose size is known when values are fed ("N": samples).
    kind : {"real", "integer", "boolean"}
    name : str
        Of an input or a parameter; empty for all others.

    Notes
    -----
    ``==`` compares identity, so that nodes serve as dictionary keys; equal graphs are identical
    objects. For the elementwise comparison use `layerwise.equal`.
    """

    __slots__ = ("__weakref__", "attributes", "inputs", "kind", "name", "op", "shape")

    op: Op
    inputs: tuple[Node, ...]
    attributes: Attributes
    shape: Shape
    kind: Kind
    name: str

    __array_ufunc__ = None  # makes `array * node` call Node.__rmul__ instead of looping over the array
    __iter__ = None  # __getitem__ alone would make Python iterate for ever

    _interned: ClassVar[weakref.WeakValueDictionary[Any, Node]] = weakref.WeakValueDictionary()
    _lock: ClassVar[threading.RLock] = threading.RLock()  # re-entrant: a collection may run inside

    def __new__(
        cls,
        op: Op,
        inputs: tuple[Node, ...] = (),
        attributes: Attributes | None = None,
        shape: Shape = (),
        kind: Kind = "real",
        name: str = "",
    ) -> Node:
        attributes = dict(attributes or {})
        # The ids stay valid as long as the entry: the node found holds its inputs.
        key = (op.name, tuple(map(id, inputs)), key_of(attributes), shape, kind, name)
        with cls._lock:
            found = cls._interned.get(key)
            if found is not None:
                return found
            self = object.__new__(cls)
            values = (op, inputs, attributes, shape, kind, name)
            for slot, value in zip(("op", "inputs", "attributes", "shape", "kind", "name"), values, strict=True):
                object.__setattr__(self, slot, value)
            cls._interned[key] = self
            return self

    def __setattr__(self, name: str, value: object) -> None:
        raise GraphError(f"A Node cannot be changed (tried to set {name!r}). Build a new one.")

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __reduce__(self) -> Any:
        raise GraphError("A Node cannot be pickled. Save the network or the model; the graph is rebuilt from it.")

    def __bool__(self) -> bool:
        raise GraphError(f"{self!r} has no value yet, so it is neither true nor false. Use layerwise.where.")

    def __repr__(self) -> str:
        inside = self.name or ", ".join(x.name or x.op.name for x in self.inputs)
        return f"<{self.op.name}({inside}) {shapes.shape_text(self.shape)}>"

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def T(self) -> Node:
        """The transpose: axes in reverse order."""
        return OPS["transpose"](self, axes=tuple(reversed(range(self.ndim))))

    def __add__(self, other: Any) -> Node:
        return OPS["add"](self, other)

    def __radd__(self, other: Any) -> Node:
        return OPS["add"](other, self)

    def __sub__(self, other: Any) -> Node:
        return OPS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Node:
        return OPS["subtract"](other, self)

    def __mul__(self, other: Any) -> Node:
        return OPS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Node:
        return OPS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Node:
        return OPS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Node:
        return OPS["divide"](other, self)

    def __pow__(self, other: Any) -> Node:
        return OPS["power"](self, other)

    def __rpow__(self, other: Any) -> Node:
        return OPS["power"](other, self)

    def __neg__(self) -> Node:
        return OPS["negative"](self)

    def __pos__(self) -> Node:
        return self

    def __abs__(self) -> Node:
        return OPS["absolute"](self)

    def __matmul__(self, other: Any) -> Node:
        return product(self, as_node(other))

    def __rmatmul__(self, other: Any) -> Node:
        return product(as_node(other), self)

    def __lt__(self, other: Any) -> Node:
        return OPS["less"](self, other)

    def __le__(self, other: Any) -> Node:
        return OPS["less_equal"](self, other)

    def __gt__(self, other: Any) -> Node:
        return OPS["greater"](self, other)

    def __ge__(self, other: Any) -> Node:
        return OPS["greater_equal"](self, other)

    def __getitem__(self, item: Any) -> Node:
        parts, kept = shapes.slices(self.shape, item)
        part = self if parts == shapes.whole(self.shape) else OPS["slice"](self, parts=parts)
        return part if kept == part.shape else OPS["reshape"](part, shape=kept)


def apply(op: Op, *inputs: Any, **attributes: Any) -> Node:
    """The node of ``op`` on ``inputs``; numbers and arrays become constants."""
    nodes: list[Node] = []
    for position, value in enumerate(inputs):
        wanted = op.kind_of_input(position)
        if wanted == "boolean" and isinstance(value, bool):
            raise GraphError(
                f"{op.name} got the plain {value} as its condition. Nodes are compared as objects by == and !=; "
                "use layerwise.equal or layerwise.not_equal."
            )
        node = as_node(value, wanted)
        nodes.append(node)
        if node.kind != wanted:
            article = "an" if wanted == "integer" else "a"
            raise GraphError(
                f"{op.name} needs {article} {wanted} value as argument {position + 1}; "
                f"got the {node.kind} value {node!r}. "
                + ("Use layerwise.where(condition, 1.0, 0.0)." if node.kind == "boolean" else "")
            )
    shape = op.shape(*(n.shape for n in nodes), **attributes)
    return Node(op, tuple(nodes), attributes, shape, op.kind)


def _as_arrays(op: Op, inputs: tuple[Any, ...]) -> list[Array]:
    """Inputs as arrays of the kinds that ``op`` needs; numbers and integers take the precision of the others."""
    arrays = [numeric_array(x, f"{op.name}: argument {i + 1}", "biufc") for i, x in enumerate(inputs)]
    floating = [a.dtype for a, x in zip(arrays, inputs, strict=True) if a.dtype.kind in "fc" and not _is_number(x)]
    precision = np.result_type(*floating) if floating else np.dtype(np.float64)
    for i, (array, x) in enumerate(zip(arrays, inputs, strict=True)):
        wanted = op.kind_of_input(i)
        if array.dtype.kind not in {"real": "iufc", "integer": "iu", "boolean": "b"}[wanted]:
            raise DataError(f"{op.name}: argument {i + 1} must be {wanted}; got dtype {array.dtype}.")
        if wanted == "real" and (array.dtype.kind in "iu" or _is_number(x)):
            arrays[i] = array.astype(precision)
    return arrays


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, np.generic)


def as_node(value: Any, kind: Kind = "real") -> Node:
    """``value`` itself when it is a node, else a constant; integers become real where ``kind`` asks for it."""
    if isinstance(value, Node):
        return value
    node = constant(value)
    return constant(np.asarray(value, dtype=np.float64)) if kind == "real" and node.kind == "integer" else node


def product(a: Any, b: Any) -> Any:
    """``a @ b`` of nodes or of arrays; a vector is a row or a column, by its side, and its axis is dropped."""
    if a.ndim == 1:
        left = OPS["reshape"](a, shape=(1, *a.shape))
        row = product(left, b)
        return OPS["reshape"](row, shape=(*row.shape[:-2], row.shape[-1])) if b.ndim > 1 else row[0]
    if b.ndim == 1:
        column = OPS["matmul"](a, OPS["reshape"](b, shape=(*b.shape, 1)))
        return OPS["reshape"](column, shape=column.shape[:-1])
    return OPS["matmul"](a, b)


def _no_shape(**_: Any) -> Shape:
    raise AssertionError("a source is not applied")


def _fed(**_: Any) -> Array:
    raise AssertionError("a source is fed, not computed")


def _product_of(*, dims: tuple[int, ...]) -> float:
    return float(math.prod(dims))


_INPUT = Op("input", _no_shape, _fed, doc="Data, fed at evaluation.")
_PARAMETER = Op("parameter", _no_shape, _fed, doc="A weight: fed at evaluation, learned in training.")
_PLACEHOLDER = Op("placeholder", _no_shape, _fed, doc="Any value; replaced before a graph is finished.")
_CONSTANT = Op("constant", _no_shape, _fed, doc="A fixed number or array.")
_SIZE = Op(
    "size",
    _no_shape,
    _product_of,
    sized=("dims",),
    latex=r"\operatorname{size}",
    doc="The product of axis sizes, such as the number of samples N.",
)


def _source(op: Op, name: str, shape: object, kind: Kind) -> Node:
    if not isinstance(name, str) or not name:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise GraphError(f"The name of an {op.name} must be a non-empty string; got {name!r}.")
    if kind not in ("real", "integer", "boolean"):
        raise unknown_name("kind", kind, ("real", "integer", "boolean"))
    return Node(op, (), None, shapes.checked_shape(shape, f"{op.name} {name!r}"), kind, name)


def input(name: str, shape: Sequence[int | str] = (), kind: Kind = "real") -> Node:
    """Data that is fed when the graph is evaluated.

    Parameters
    ----------
    name : str
        Shown in messages, drawings and derivations.
    shape : tuple of int or str
        A string names an axis whose size is known only when values are fed. "N" is the sample axis.
    kind : {"real", "integer", "boolean"}
        Integers are labels and row numbers; nothing is differentiated by them.

    Returns
    -------
    Node

    Examples
    --------
    >>> import layerwise as lw
    >>> lw.input("x", ("N", 2))
    <input(x) (N, 2)>
    """
    return _source(_INPUT, name, shape, kind)


def parameter(name: str, shape: Sequence[int | str] = ()) -> Node:
    """A weight: fed when the graph is evaluated, changed by training.

    Parameters
    ----------
    name : str
    shape : tuple of int

    Returns
    -------
    Node

    Examples
    --------
    >>> import layerwise as lw
    >>> lw.parameter("W", (2, 3))
    <parameter(W) (2, 3)>
    """
    return _source(_PARAMETER, name, shape, "real")


def placeholder(shape: Shape) -> Node:
    """Stands for any value of ``shape`` while a graph is built; nobody else can make the same node."""
    return Node(_PLACEHOLDER, (), None, shape)


def constant(value: Any) -> Node:
    """A fixed number or array as a node; the array is copied.

    Parameters
    ----------
    value : number or array_like
        Real numbers, integers within a real graph, booleans; an integer *array* has kind "integer".

    Returns
    -------
    Node

    Raises
    ------
    GraphError
        Text, objects or complex numbers.
    """
    try:
        array = np.array(value)
    except ValueError:
        raise GraphError(f"A constant must be a number or a rectangular array; got {value!r}.") from None
    if array.dtype.kind not in "fiub":
        raise GraphError(f"A constant must hold real numbers; got dtype {array.dtype} from {value!r}.")
    kind: Kind = "real"
    if array.dtype.kind == "b":
        kind = "boolean"
    elif array.dtype.kind in "iu" and array.ndim:
        kind, array = "integer", array.astype(np.int64)
    else:
        array = array.astype(np.float64)  # the widest precision; evaluation rounds it once
    array.setflags(write=False)
    return Node(_CONSTANT, (), {"value": array}, array.shape, kind)


def size(dims: Shape) -> Node:
    """The product of the sizes ``dims`` as a real scalar; a constant when no axis is named."""
    known = tuple(d for d in dims if isinstance(d, int))
    if len(known) == len(dims):
        return constant(_product_of(dims=known))
    return Node(_SIZE, (), {"dims": dims}, ())


def is_source(node: Node) -> bool:
    """True for inputs and parameters: nodes that must be fed."""
    return node.op is _INPUT or node.op is _PARAMETER


def constant_value(node: Node) -> Array | None:
    """The array of a constant; None for every other node."""
    return node.attributes["value"] if node.op is _CONSTANT else None
