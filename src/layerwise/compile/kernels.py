"""Names and numbers of what the native engine can do; a test compares them with the compiled module's own list."""

from __future__ import annotations

KERNELS: dict[str, int] = {
    "gather": 1,
    "product": 2,
    "t_product": 1,
    "column_reduce": 1,
    "map": 1,
    "pack": 1,
    "pack_transposed": 1,
    "softmax": 1,
    "log_softmax": 1,
    "softmax_cross_entropy": 2,
    "row_reduce": 1,
    "copy": 1,
    "fill": 1,
    "take": 1,
    "one_hot": 1,
    "scatter": 1,
    "contract": 1,
    "t_product_packed": 2,
    "uniform": 1,
}
"""Kernels in the order of their numbers, with how many values each writes (a map: as many as its code says)."""

MAP_KERNELS: tuple[str, ...] = (
    "identity",
    "negative",
    "square",
    "sqrt",
    "absolute",
    "sign",
    "clip",
    "exp",
    "expm1",
    "log",
    "log1p",
    "sin",
    "cos",
    "tanh",
    "erf",
    "erfc",
    "normal_cdf",
    "sigmoid",
    "log_sigmoid",
    "softplus",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "softsign",
    "hardtanh",
    "log_of_cosh",
    "add",
    "subtract",
    "multiply",
    "divide",
    "power",
    "maximum",
    "minimum",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "where",
)
"""Operations of an elementwise chain, in the order of their numbers (native/kernels.def)."""

REDUCTIONS: tuple[str, ...] = ("sum", "mean", "max", "logsumexp")
EPILOGUES: tuple[str, ...] = (
    "none",
    "bias",
    "bias_relu",
    "times_relu_slope",
    "times_tanh_slope",
    "times_sigmoid_slope",
)
"""What a product does with its sums before they leave the registers."""
SLOPES: tuple[str, ...] = ("relu", "tanh", "sigmoid")
"""Activations whose slope, known from the activation itself, is an epilogue."""
