"""What stands between gradients and an update rule: limits of gradients, and groups of parameters with own rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from layerwise.errors import DataError
from layerwise.graph.node import Node
from layerwise.network.checks import checked_number
from layerwise.network.updates import UpdateRule
from layerwise.ops.arithmetic import clip, minimum, sqrt, square
from layerwise.ops.reductions import sum


@dataclass(frozen=True)
class Group:
    """How an update rule meets some parameters in another way than the rest.

    Parameters
    ----------
    learning_rate_factor : float >= 0
        What the learning rate is multiplied by; with 0 these parameters stay as they are.
    weight_decay : float >= 0, optional
        In place of the rule's own, for rules that have one (`AdamW`, `Lion`).

    Raises
    ------
    DataError
        A number that is negative or not finite.

    Examples
    --------
    Biases without decay, which is what most recipes ask for::

        lw.train(net, X, Y, optimizer=lw.AdamW(1e-3, weight_decay=0.05), groups={"b*": lw.Group(weight_decay=0.0)})
    """

    learning_rate_factor: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        for name in ("learning_rate_factor", "weight_decay"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, checked_number(f"{name} of Group", value))

    def rule(self, rule: UpdateRule) -> UpdateRule:
        """The rule as these parameters meet it."""
        changed: dict[str, Any] = {}
        if self.weight_decay is not None:
            if "weight_decay" not in rule.hyperparameters:
                raise DataError(
                    f"{type(rule).__name__} has no weight_decay that a group could change. Use AdamW or Lion, or give "
                    "the layers a penalty: Dense(..., l2=...)."
                )
            changed["weight_decay"] = self.weight_decay
        return rule.at(changed).times(self.learning_rate_factor)


def grouped(
    rule: UpdateRule, groups: Mapping[str, Group], names: Sequence[str]
) -> list[tuple[str, UpdateRule, tuple[str, ...]]]:
    """For each group: what tells its numbers from those of the others, the rule, and the parameters.

    The first pattern that a name fits decides; what fits none meets the rule as it is.

    Raises
    ------
    DataError
        A pattern fits no parameter, or what stands for a group is none.
    """
    if not isinstance(groups, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"groups must be a dict from names of parameters to layerwise.Group; got {groups!r}.")
    members: dict[str, list[str]] = {pattern: [] for pattern in ("", *groups)}
    for name in names:
        members[next((p for p in groups if fnmatchcase(name, str(p))), "")].append(name)
    for pattern, group in groups.items():
        if not isinstance(group, Group):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise DataError(f"groups[{pattern!r}] must be a layerwise.Group; got {group!r}.")
        if not any(fnmatchcase(name, str(pattern)) for name in names):
            raise DataError(f"groups: no parameter is named {pattern!r}. There are {', '.join(names)}.")
    found = [("", rule, tuple(members[""]))]
    found += [(f" of {p}", group.rule(rule), tuple(members[p])) for p, group in groups.items()]
    return [entry for entry in found if entry[2]]


@dataclass(frozen=True)
class Clip:
    """Limits of gradients, kept before the update rule sees them.

    Parameters
    ----------
    value : float > 0, optional
        Each entry of a gradient is limited to -value … value.
    norm : float > 0, optional
        Where the norm of all gradients together, as one vector, is larger, they are scaled to it; after ``value``.

    Notes
    -----
    PyTorch's ``clip_grad_value_`` and ``clip_grad_norm_``: the factor is min(1, norm / (‖g‖ + 1e-6)).

    References
    ----------
    Pascanu, Mikolov and Bengio (2013), for the norm.
    """

    value: float | None = None
    norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("value", "norm"):
            limit = getattr(self, name)
            if limit is not None:
                object.__setattr__(self, name, checked_number(f"clip_{name}", limit, above=0.0))

    def limited(self, gradients: Sequence[Node]) -> list[Node]:
        """The gradients within the limits."""
        limited = list(gradients)
        if self.value is not None:
            limited = [clip(g, -self.value, self.value) for g in limited]
        if self.norm is not None:
            total: Any = 0.0
            for g in limited:
                total = total + sum(square(g))
            factor = minimum(1.0, self.norm / (sqrt(total) + 1e-6))
            limited = [factor * g for g in limited]
        return limited
