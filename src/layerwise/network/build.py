"""From a network's description to its graph: forward values, losses, cost, and a whole training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.engine.training import Step, address_of
from layerwise.errors import NetworkError
from layerwise.graph.differentiate import gradient
from layerwise.graph.node import Node, input, parameter
from layerwise.graph.shapes import resolve
from layerwise.network.groups import Clip, Group, grouped
from layerwise.network.layers import numbered
from layerwise.network.regularise import LayerNumbers, Number, Place, limited
from layerwise.network.scheduled import RuleRun
from layerwise.network.updates import UpdateRule
from layerwise.ops.layout import one_hot
from layerwise.ops.losses import LOSSES
from layerwise.ops.reductions import mean
from layerwise.types import Array

if TYPE_CHECKING:
    from layerwise.network.network import Network


@dataclass(frozen=True)
class ForwardGraph:
    """Nodes of the forward pass, in one of two forms: as the network predicts, or as a training step computes.

    Parameters
    ----------
    inputs : Node, (N, n_0)
    parameters : dict of str to Node
        W1, b1, …
    pre_activations : tuple of Node
        Z^1 … Z^L, each (N, n_l): what the activation functions are applied to.
    activations : tuple of Node
        A^0 = X, A^1 … A^L.
    trained : tuple of str
        The parameters that gradients change; the others are state, such as running statistics.
    stores : dict of str to Node
        In the training form, parameter → its value after a step, for those that are state.
    penalties : tuple of Node, ()
        In the training form, what is added to the average loss.
    max_norms : dict of str to float
        Parameter → the most that a column may measure after a step.
    address : Node, (2,) integer, or None
        In the training form with dropout or noise, where the random numbers of a step come from: its seed and number.
    fed : dict of Node to Number
        With them, what else is fed at each step: rates and the like.
    """

    inputs: Node
    parameters: dict[str, Node]
    pre_activations: tuple[Node, ...]
    activations: tuple[Node, ...]
    trained: tuple[str, ...]
    stores: dict[str, Node]
    penalties: tuple[Node, ...]
    max_norms: dict[str, float]
    address: Node | None
    fed: dict[Node, Number]

    @property
    def output(self) -> Node:
        """A^L."""
        return self.activations[-1]

    def forward_feeds(self, params: Mapping[str, Any], X: Any, *, seed: int = 0, step: int = 1) -> dict[Node, Any]:
        """Parameters and inputs as feeds for whatever the forward pass computes; seed and step of what is random."""
        feeds = {self.inputs: X, **{node: params[name] for name, node in self.parameters.items()}}
        if self.address is not None:
            feeds |= {self.address: address_of(seed, step)}
            feeds |= {node: number.of(number.start) for node, number in self.fed.items()}
        return feeds


@dataclass(frozen=True)
class CostGraph(ForwardGraph):
    """Nodes of the cost, in addition to those of the forward pass.

    Parameters
    ----------
    targets : Node, (N, n_L), or (N,) integer labels
    sample_weight : Node, (N,), or None
        Its mean over the data set is to be 1, so that C = (1/N) Σ w L = Σ w L / Σ w.
    losses : Node, (N,)
        L of each sample.
    cost : Node, ()
    """

    targets: Node
    sample_weight: Node | None
    losses: Node
    cost: Node

    def feeds(
        self, params: Mapping[str, Any], X: Any, Y: Any, sample_weight: Any = None, *, seed: int = 0, step: int = 1
    ) -> dict[Node, Any]:
        """Parameters, inputs, targets and weights as feeds for the cost and its gradients."""
        feeds = {**self.forward_feeds(params, X, seed=seed, step=step), self.targets: Y}
        if self.sample_weight is not None:
            feeds[self.sample_weight] = sample_weight
        return feeds


def forward_graph(net: Network, *, training: bool = False, random: bool = True) -> ForwardGraph:
    """The graph of Z^l and A^l for all layers.

    In its training form it has the statistics of the batch, and what is random where that is not left out.
    """
    address = input("address", (2,), "integer") if training and random else None
    fed: dict[Node, Number] = {}
    X = input("X", ("N", net.widths[0]))
    parameters = {name: parameter(name, shape) for name, shape in net.parameter_shapes.items()}
    Z: list[Node] = []
    A: list[Node] = [X]
    stores: dict[str, Node] = {}
    penalties: list[Node] = []
    max_norms: dict[str, float] = {}
    for number, (n_in, layer) in enumerate(zip(net.widths, net.layers, strict=False), start=1):
        own = {name: parameters[numbered(name, number)] for name in layer.parameters(n_in)}
        built = layer.graph(A[-1], own, Place(number, training, address, fed))
        Z.append(built.pre_activation)
        A.append(built.activation)
        stores |= {numbered(name, number): node for name, node in built.stores.items()}
        penalties += [] if built.penalty is None else [built.penalty]
        max_norms |= {numbered(name, number): norm for name, norm in layer.max_norms.items()}
    return ForwardGraph(
        X,
        parameters,
        tuple(Z),
        tuple(A),
        net.trained,
        stores,
        tuple(penalties),
        max_norms,
        address if fed else None,
        fed,
    )


def cost_graph(net: Network, *, labels: bool, weighted: bool, training: bool = False, random: bool = True) -> CostGraph:
    """The graph of the cost, in its training form with penalties; a loss joined to the output function reads Z^L."""
    forward = forward_graph(net, training=training, random=random)
    row, options = LOSSES[net.loss.name], net.loss.options
    if labels and row.targets != "distribution":
        raise NetworkError(f"Loss {net.loss.name!r} takes numbers as targets, not labels.")
    n_L = net.widths[-1]
    targets = input("Y", ("N",), "integer") if labels else input("Y", ("N", n_L))
    T: Any = one_hot(targets, n_L) if labels else targets
    smoothing = options.pop("label_smoothing", 0.0)
    if smoothing:
        T = (1.0 - smoothing) * T + smoothing / n_L
    joined = row.joined.get(net.output_layer.activation.name)
    losses = row.op(forward.output, T, **options) if joined is None else joined(forward.pre_activations[-1], T)
    w = input("sample_weight", ("N",)) if weighted else None
    cost = mean(losses if w is None else w * losses)
    for part in forward.penalties:
        cost = cost + part
    return CostGraph(**vars(forward), targets=targets, sample_weight=w, losses=losses, cost=cost)


@dataclass(frozen=True)
class Fed:
    """An update rule with the nodes of the numbers that it is fed at each step, and the parameters that it changes.

    Or, without parameters, the numbers that layers are fed.
    """

    rule: UpdateRule | LayerNumbers
    scalars: dict[str, Node]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class StepGraph:
    """One training step as one graph: cost, gradients and update together.

    Parameters
    ----------
    graph : CostGraph
        In its training form.
    predicts : CostGraph
        As the network predicts.
    fed : tuple of Fed
        The update rule as each group of parameters meets it.
    slots : dict of (parameter, slot) to Node
        What the update rule remembers, such as velocities.
    cost : Node
    parameters, new_slots : dicts of Node
        After the update, under the same keys.
    """

    graph: CostGraph
    predicts: CostGraph
    fed: tuple[Fed, ...]
    slots: dict[tuple[str, str], Node]
    cost: Node
    parameters: dict[str, Node]
    new_slots: dict[tuple[str, str], Node]

    def start(self, weights: Mapping[str, Array], dtype: str) -> dict[Node, Array]:
        """What steps change, before the first one: the weights, and the slots that do not start at 0."""
        values = {node: weights[name] for name, node in self.graph.parameters.items()}
        rules = {n: fed.rule for fed in self.fed for n in fed.parameters if isinstance(fed.rule, UpdateRule)}
        for (name, slot), node in self.slots.items():
            if number := rules[name].start(slot):
                values[node] = np.broadcast_to(np.asarray(number, dtype), resolve(node.shape, {}))
        return values

    def step(self, runs: Sequence[RuleRun] | None = None) -> Step:
        """The step as engines see it.

        Parameters
        ----------
        runs : sequence of RuleRun, optional
            Where rules have schedules: each of `fed` during a fit.
        """
        graph = self.graph
        tables = (graph.inputs, graph.targets, *([] if graph.sample_weight is None else [graph.sample_weight]))
        stores = {node: self.parameters[name] for name, node in graph.parameters.items()}
        weights = tuple(stores)
        stores |= {node: self.new_slots[key] for key, node in self.slots.items()}
        inputs = tuple(node for fed in self.fed for node in fed.scalars.values())

        sources = [fed.rule for fed in self.fed] if runs is None else runs

        def scalars(numbers: Any) -> dict[Node, Any]:
            pairs = zip(self.fed, sources, strict=True)
            return {fed.scalars[name]: value for fed, run in pairs for name, value in run.scalars(numbers).items()}

        return Step(
            self.cost,
            (self.predicts.losses, self.predicts.output),
            stores,
            weights,
            tables,
            inputs,
            scalars,
            graph.address,
        )


def step_graph(
    graph: CostGraph,
    rule: UpdateRule,
    groups: Mapping[str, Group] | None = None,
    clip: Clip | None = None,
    predicts: CostGraph | None = None,
) -> StepGraph:
    """The training step of a cost graph in its training form, under an update rule.

    Parameters
    ----------
    graph : CostGraph
    rule : UpdateRule
    groups : dict of str to Group, optional
        How the rule meets the parameters of these names, or patterns of names.
    clip : Clip, optional
        Limits of gradients.
    predicts : CostGraph, optional
        The same network as it predicts, by which it is judged; where there is no difference, it is the same graph.
    """
    if missing := set(graph.parameters) - {*graph.trained, *graph.stores}:
        raise NetworkError(
            f"A step must store {', '.join(sorted(missing))}, which only the training form does. "
            "Give Network.graph(training=True)."
        )
    weights = {name: graph.parameters[name] for name in graph.trained}
    grads = gradient(graph.cost, list(weights.values()))
    grads = grads if clip is None else clip.limited(grads)
    by_name = dict(zip(weights, grads, strict=True))
    fed: list[Fed] = []
    slots: dict[tuple[str, str], Node] = {}
    new_slots: dict[tuple[str, str], Node] = {}
    parameters = dict(graph.stores)
    for suffix, own_rule, names in grouped(rule, groups or {}, tuple(weights)):
        plain = own_rule.at(dict.fromkeys(own_rule.schedules, 1.0))
        scalars = {name: input(f"{name}{suffix}", ()) for name in plain.scalars(1)}
        fed.append(Fed(own_rule, scalars, names))
        for name in names:
            own = {slot: parameter(f"{slot} of {name}", weights[name].shape) for slot in rule.slots}
            parameters[name], *after = own_rule.step(weights[name], by_name[name], *own.values(), **scalars)
            for (slot, node), new in zip(own.items(), after, strict=True):
                slots[name, slot], new_slots[name, slot] = node, new
    if graph.fed:
        nodes = {node.name: node for node in graph.fed}
        fed.append(Fed(LayerNumbers({node.name: number for node, number in graph.fed.items()}), nodes, ()))
    for name, norm in graph.max_norms.items():
        parameters[name] = limited(parameters[name], norm)
    return StepGraph(graph, predicts or graph, tuple(fed), slots, graph.cost, parameters, new_slots)
