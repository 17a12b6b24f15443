"""Arithmetic, powers, exponentials, comparisons and choices: elementwise ops with broadcasting."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from layerwise.errors import GraphError
from layerwise.graph.node import Node, constant_value
from layerwise.ops import special
from layerwise.ops.table import elementwise
from layerwise.types import Array, Kind

add = elementwise(
    "add",
    value=np.add,
    slope=(lambda x, y, a: 1, lambda x, y, a: 1),
    latex="{0} + {1}",
    kernel="add",
    doc="The sum x + y.",
)
subtract = elementwise(
    "subtract",
    value=np.subtract,
    slope=(lambda x, y, a: 1, lambda x, y, a: -1),
    latex="{0} - {1}",
    kernel="subtract",
    doc="The difference x - y.",
)
multiply = elementwise(
    "multiply",
    value=np.multiply,
    slope=(lambda x, y, a: y, lambda x, y, a: x),
    latex=r"{0} \odot {1}",
    kernel="multiply",
    doc="The product x · y, element by element.",
)
divide = elementwise(
    "divide",
    value=np.true_divide,
    slope=(lambda x, y, a: 1 / y, lambda x, y, a: -a / y),
    latex=r"{0} \oslash {1}",
    kernel="divide",
    doc="The quotient x / y.",
)
negative = elementwise(
    "negative", value=np.negative, slope=lambda x, a: -1, latex="-{0}", kernel="negative", doc="The negative -x."
)


def _power_slope(x: Any, y: Any, a: Any) -> Any:
    """y x^(y-1); 0 where y is 0, although 0 · 0^(-1) is NaN. A known exponent counts down to 0 by itself."""
    value = constant_value(y) if isinstance(y, Node) else None
    if value is None or value.ndim:
        return where(equal(y, 0.0), 0.0, y * x ** (y - 1.0))
    p = float(value)
    if p in (0.0, 1.0):
        return p
    return p * x if p == 2.0 else p * x ** (p - 1.0)


power = elementwise(
    "power",
    value=np.power,
    # 0 · log 0 would be NaN where the base is 0.
    slope=(_power_slope, lambda x, y, a: where(equal(a, 0.0), 0.0, a * log(x))),
    latex="{0}^{{{1}}}",
    kernel="power",
    doc="The power x^y; NaN for a negative base and a fractional exponent, as in IEEE 754.",
)
square = elementwise(
    "square", value=np.square, slope=lambda x, a: 2.0 * x, latex="{0}^2", kernel="square", doc="The square x²."
)
sqrt = elementwise(
    "sqrt", value=np.sqrt, slope=lambda x, a: 0.5 / a, latex=r"\sqrt{{{0}}}", kernel="sqrt", doc="The square root √x."
)
exp = elementwise(
    "exp", value=np.exp, slope=lambda x, a: a, latex="e^{{{0}}}", kernel="exp", doc="The exponential e^x."
)
expm1 = elementwise(
    "expm1",
    value=np.expm1,
    slope=lambda x, a: exp(x),
    latex="e^{{{0}}} - 1",
    kernel="expm1",
    doc="e^x - 1, accurate near 0.",
)
log = elementwise(
    "log", value=np.log, slope=lambda x, a: 1 / x, latex=r"\log {0}", kernel="log", doc="The natural logarithm."
)
log1p = elementwise(
    "log1p",
    value=np.log1p,
    slope=lambda x, a: 1 / (1.0 + x),
    latex=r"\log (1 + {0})",
    kernel="log1p",
    doc="log(1 + x), accurate near 0.",
)
sin = elementwise("sin", value=np.sin, slope=lambda x, a: cos(x), latex=r"\sin {0}", kernel="sin", doc="The sine.")
cos = elementwise("cos", value=np.cos, slope=lambda x, a: -sin(x), latex=r"\cos {0}", kernel="cos", doc="The cosine.")
erf = elementwise(
    "erf",
    value=special.erf,
    slope=lambda x, a: (2.0 / math.sqrt(math.pi)) * exp(-square(x)),
    latex=r"\operatorname{{erf}} {0}",
    kernel="erf",
    doc="The error function 2/√π ∫₀ˣ e^(-t²) dt.",
)
normal_cdf = elementwise(
    "normal_cdf",
    value=lambda x: 0.5 * special.erfc(np.asarray(x) * -math.sqrt(0.5)),
    slope=lambda x, a: (1.0 / math.sqrt(2.0 * math.pi)) * exp(-0.5 * square(x)),
    latex=r"\Phi({0})",
    kernel="normal_cdf",
    doc="The standard normal distribution function Φ(x), accurate in both tails.",
)


def _absolute(x: Array) -> Array:
    return np.where(np.real(x) < 0, -x, x) if x.dtype.kind == "c" else np.abs(x)  # analytic, for the complex step


absolute = elementwise(
    "absolute",
    value=_absolute,
    slope=lambda x, a: sign(x),
    latex=r"\lvert {0} \rvert",
    kernel="absolute",
    doc="The absolute value |x|; its slope at 0 is 0.",
)
sign = elementwise(
    "sign",
    value=lambda x: np.sign(np.real(x)),  # also of complex numbers: the complex step of a constant is 0
    slope=lambda x, a: 0,
    latex=r"\operatorname{{sign}} {0}",
    kernel="sign",
    doc="-1, 0 or 1 by the sign of x.",
)
maximum = elementwise(
    "maximum",
    value=np.maximum,
    slope=(
        lambda x, y, a: where(x > y, 1.0, where(equal(x, y), 0.5, 0.0)),
        lambda x, y, a: where(y > x, 1.0, where(equal(x, y), 0.5, 0.0)),
    ),
    latex=r"\max({0}, {1})",
    kernel="maximum",
    doc="The larger of x and y; equal values share the gradient.",
)
minimum = elementwise(
    "minimum",
    value=np.minimum,
    slope=(
        lambda x, y, a: where(x < y, 1.0, where(equal(x, y), 0.5, 0.0)),
        lambda x, y, a: where(y < x, 1.0, where(equal(x, y), 0.5, 0.0)),
    ),
    latex=r"\min({0}, {1})",
    kernel="minimum",
    doc="The smaller of x and y; equal values share the gradient.",
)
where = elementwise(
    "where",
    value=np.where,
    slope=(
        lambda c, x, y, a: 0,
        lambda c, x, y, a: where(c, 1.0, 0.0),
        lambda c, x, y, a: where(c, 0.0, 1.0),
    ),
    latex=r"[{0}]\,{1} + [\lnot {0}]\,{2}",
    kernel="where",
    kinds=("boolean", "real"),
    doc="x where the condition holds, else y.",
)


def _comparison(name: str, value: Any, latex: str, doc: str) -> Any:
    kinds: tuple[Kind, ...] = ("real",)
    return elementwise(name, value=value, slope=None, latex=latex, kernel=name, kinds=kinds, kind="boolean", doc=doc)


equal = _comparison("equal", np.equal, "{0} = {1}", "True where x equals y (NaN equals nothing).")
not_equal = _comparison("not_equal", np.not_equal, r"{0} \ne {1}", "True where x differs from y.")
less = _comparison("less", np.less, "{0} < {1}", "True where x < y.")
less_equal = _comparison("less_equal", np.less_equal, r"{0} \le {1}", "True where x ≤ y.")
greater = _comparison("greater", np.greater, "{0} > {1}", "True where x > y.")
greater_equal = _comparison("greater_equal", np.greater_equal, r"{0} \ge {1}", "True where x ≥ y.")

stop_gradient = elementwise(
    "stop_gradient",
    value=np.asarray,
    slope=lambda x, a: 0,
    latex=r"\operatorname{{stop}}({0})",
    kernel="identity",
    doc="x itself; no gradient passes through it.",
)
_clip = elementwise(
    "clip",
    value=lambda x, *, low, high: np.clip(x, low, high),
    slope=lambda x, a, *, low, high: where(x < low, 0.0, where(x > high, 0.0, 1.0)),
    latex=r"\operatorname{{clip}}({0})",
    kernel="clip",
    defaults={"low": -math.inf, "high": math.inf},
    doc="x limited to low … high; the slope is 1 inside and at the limits, 0 outside.",
)


def clip(x: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """x limited to ``low`` … ``high``, element by element.

    Parameters
    ----------
    x : Node or array_like
    low, high : float
        ``low <= high``.

    Returns
    -------
    Node or array, shape of ``x``

    Raises
    ------
    GraphError
        ``low > high``, or one of them is NaN.
    """
    try:
        low, high = float(low), float(high)
    except (TypeError, ValueError):
        raise GraphError(f"clip needs two numbers; got low={low!r}, high={high!r}.") from None
    if not low <= high:
        raise GraphError(f"clip needs low <= high; got low={low}, high={high}.")
    return _clip(x, low=low, high=high)
