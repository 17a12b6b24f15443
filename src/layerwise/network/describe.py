"""What a network is given as, checked: widths or layers, and a loss that fits the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from layerwise.errors import NetworkError, unknown_name
from layerwise.network.inputs import Embedding, Scale
from layerwise.network.layers import Dense, DenseOptions, Input, Layer
from layerwise.network.spec import Activation, as_named
from layerwise.ops.losses import LOSSES

USUAL_LOSS = {row.usual_for: name for name, row in LOSSES.items() if row.usual_for}
"""Output activation → the loss when none is named."""

_KINDS: dict[str, type[Layer]] = {"scale": Scale, "embedding": Embedding}
"""What the description of a layer that is no `Dense` calls it."""


def layer_from_dict(data: Mapping[str, Any]) -> Layer:
    """The layer that its ``to_dict`` described; without a ``kind`` it is a `Dense`."""
    if not isinstance(data, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise NetworkError(f"A layer is described by its options; got {data!r}.")
    options = dict(data)
    kind = options.pop("kind", None)
    if kind is None:
        return Dense(**options)
    if kind not in _KINDS:
        raise unknown_name("kind of layer", kind, _KINDS)
    return _KINDS[kind](**options)


_FOR_ALL = ("l1", "l2", "parametrisation")
"""Options that a network given by widths passes on to its last layer too."""


def described(
    layers: Any, hidden: str | Activation | None, output: str | Activation | None, options: Mapping[str, Any]
) -> tuple[int, tuple[Layer, ...]]:
    """The number of inputs, and the layers behind them."""
    items = list(layers) if isinstance(layers, (list, tuple)) else None
    if not items or len(items) < 2:
        raise NetworkError(
            f"A network needs the number of inputs and at least one layer, such as [4, 16, 3]; got {layers!r}."
        )
    known = DenseOptions.__annotations__
    for name in options:
        if name not in known:
            raise unknown_name("option of Network", name, ["hidden", "output", "loss", *known])
    if isinstance(items[0], Input):
        if hidden is not None or output is not None:
            raise NetworkError("With Dense layers, each has its own activation; leave hidden and output out.")
        if options:
            raise NetworkError(f"With Dense layers, each has its own options; give {', '.join(options)} to them.")
        wrong = [x for x in items[1:] if not isinstance(x, Layer)]
        if wrong:
            raise NetworkError(f"After Input come Dense layers, Scale or Embedding; got {wrong[0]!r}.")
        if not isinstance(items[-1], Dense):
            raise NetworkError(f"The last layer must be a Dense, which gives the outputs; got {items[-1]!r}.")
        return items[0].width, tuple(items[1:])
    if any(isinstance(x, (Input, Layer)) for x in items):
        raise NetworkError(f"A list of layers starts with Input(n) and goes on with Dense layers; got {layers!r}.")
    between = as_named(Activation, "relu" if hidden is None else hidden)  # checked also where no layer uses it
    n_inputs, inputs = Input(items[0]).width, items[:-2]
    for_all = {name: value for name, value in options.items() if name in _FOR_ALL}
    wanted = {k: v for k, v in options.items() if k != "residual"}
    Dense(2, between, **wanted)  # likewise
    residual = [
        bool(options.get("residual")) and n_in == width for n_in, width in zip(inputs, items[1:-1], strict=True)
    ]
    if options.get("residual") and not any(residual):
        raise NetworkError(f"residual needs a hidden layer that has as many units as inputs; the widths are {items}.")
    dense = [Dense(width, between, residual=own, **wanted) for width, own in zip(items[1:-1], residual, strict=True)]
    dense.append(Dense(items[-1], "identity" if output is None else output, **for_all))
    return n_inputs, tuple(dense)


def widths_of(n_inputs: int, layers: Sequence[Layer]) -> tuple[int, ...]:
    """n_0 … n_L."""
    widths = [n_inputs]
    for number, layer in enumerate(layers, start=1):
        widths.append(layer.width_behind(widths[-1], number))
    last = layers[-1]
    if isinstance(last, Dense) and last.dropout:
        raise NetworkError(f"The last layer has dropout {last.dropout:g}, which would drop outputs. Give it to others.")
    if isinstance(last, Dense) and last.residual and last.activation.name != "identity":
        raise NetworkError(
            f"The last layer is residual with activation {last.activation.name!r}, so its outputs would leave the "
            "range of that. Use activation 'identity', or leave residual out."
        )
    return tuple(widths)


def check_fit(output: str, loss: str, n_outputs: int) -> None:
    """Raise a NetworkError where the output activation and the loss do not belong together."""
    row = LOSSES[loss]
    if output in ("softmax", "log_softmax") and n_outputs == 1:
        raise NetworkError(
            "A softmax over one output is 1 whatever the input. For two classes use one output with output='sigmoid', "
            "or two outputs."
        )
    if row.outputs:
        if output not in row.outputs:
            raise NetworkError(
                f"Loss {loss!r} needs an output in its range: {' or '.join(map(repr, row.outputs))}; got {output!r}. "
                + (f"Use loss={USUAL_LOSS[output]!r}." if output in USUAL_LOSS else f"Use output={row.outputs[0]!r}.")
            )
    elif output in ("softmax", "log_softmax"):
        raise NetworkError(
            f"A {output} output gives class probabilities, for which {loss!r} learns slowly: its gradient vanishes "
            "where the network is confidently wrong. Use loss='cross_entropy' with output='softmax', or another output."
        )
