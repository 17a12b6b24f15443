"""Schedules: numbers that change during a fit, such as a learning rate. What they are, and how they combine.

A schedule is a description: plain numbers, compared by value, without a state. The kinds are in `decays` and `plateau`.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add, mul
from typing import Any, ClassVar, TypeAlias, TypeVar

import numpy as np

from layerwise.errors import DataError, unknown_name
from layerwise.network.checks import checked_flag, checked_number
from layerwise.types import FloatArray

_ROUNDING = 1e-12
"""A moment that is this close below a border, relatively, is on it: 10 times 0.3 steps are 3 steps, not 2.9999…"""
_DEEPEST = 50
"""Schedules within schedules, in a description that is read."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Where in a fit some steps are.

    Parameters
    ----------
    steps_done : array_like
        Whole steps before each of these steps: 0 for the first step of a fit.
    steps : int
        Of the whole fit, as planned.
    steps_per_epoch : int

    Examples
    --------
    >>> from layerwise import Moments
    >>> moments = Moments(range(6), steps=6, steps_per_epoch=3)
    >>> moments.epochs[3], moments.share[3]
    (np.float64(1.0), np.float64(0.5))
    """

    steps_done: FloatArray
    steps: int
    steps_per_epoch: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps_done", np.asarray(self.steps_done, np.float64))

    @property
    def share(self) -> FloatArray:
        """t, the share of the fit that lies before each step.

        0 at the first step; 1 after the last, where no step is, so that a schedule to 0 leaves all steps something.
        Not above 1 in a fit that goes on beyond its plan.
        """
        return np.minimum(self.steps_done / max(self.steps, 1), 1.0)

    @property
    def epochs(self) -> FloatArray:
        """Epochs before each step; in the middle of an epoch no whole number."""
        return self.steps_done / self.steps_per_epoch

    def whole_epochs(self, every: float = 1.0) -> FloatArray:
        """How many whole stretches of ``every`` epochs lie before each step."""
        return np.floor(self.epochs / every * (1 + _ROUNDING))

    def stretch(self, epochs: float | None, share: float | None) -> float:
        """Steps in so many epochs, or in this share of the fit; in the whole fit if neither is given."""
        if epochs is not None:
            return epochs * self.steps_per_epoch
        return self.steps if share is None else share * self.steps


@dataclass(frozen=True)
class Schedule(ABC):
    """Base of all schedules: a number >= 0 for every step of a fit; the fields of a schedule are its parameters.

    Schedules are multiplied and added, with numbers too, and follow each other: see `then`. An update rule takes one in
    place of a number: ``lw.Adam(learning_rate=lw.Warmup(epochs=2) * lw.CosineDecay(0.01))``.

    Attributes
    ----------
    above, below, most : dict of str to float
        Limits of parameters: a number stays above, below, or is at most this. One that is not named in ``above`` is
        >= 0.
    choices : dict of str to tuple of str
        Parameters that are names, with these names.

    Notes
    -----
    A parameter whose default is True or False takes these two, one whose default is None takes that or a number. A
    schedule of your own is a frozen dataclass with `at`; it trains like all others, but `from_dict` does not know it.

    Examples
    --------
    >>> import layerwise as lw
    >>> schedule = lw.Warmup(epochs=1) * lw.Constant(0.5)
    >>> schedule.at(lw.Moments(range(4), steps=4, steps_per_epoch=2))
    array([0.  , 0.25, 0.5 , 0.5 ])
    >>> lw.Schedule.from_dict(schedule.to_dict()) == schedule
    True
    """

    above: ClassVar[Mapping[str, float]] = {}
    below: ClassVar[Mapping[str, float]] = {}
    most: ClassVar[Mapping[str, float]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # NumPy's numbers leave the arithmetic to us: without this a float64 times a schedule is an array of objects.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, self._checked(f.name, f.default, getattr(self, f.name)))

    def _checked(self, name: str, default: object, value: Any) -> Any:
        what = f"{name} of {type(self).__name__}"
        if name in self.choices:
            if value not in self.choices[name]:
                raise unknown_name(what, value, self.choices[name])
            return value
        if isinstance(default, bool):
            return checked_flag(what, value)
        if default is None and value is None:
            return None
        limits = self.below.get(name, math.inf), self.most.get(name, math.inf)
        return checked_number(what, value, self.above.get(name), *limits)

    @abstractmethod
    def at(self, moments: Moments) -> FloatArray:
        """The values at these steps.

        Parameters
        ----------
        moments : Moments

        Returns
        -------
        array
            One number a step, in the shape of ``moments.steps_done``.
        """

    # Composition ------------------------------------------------------------------------------------------

    @property
    def parts(self) -> tuple[Schedule, ...]:
        """The schedules that it is made of."""
        return ()

    def with_parts(self, parts: tuple[Schedule, ...]) -> Schedule:
        """The same made of other schedules."""
        return self

    def seen_by_parts(self, moments: Moments) -> tuple[Moments, ...]:
        """The same steps as each part counts them."""
        return (moments,) * len(self.parts)

    def then(self, other: Schedule | float, *, epochs: float | None = None, share: float | None = None) -> Schedule:
        """This schedule first, and another one after some time.

        Parameters
        ----------
        other : Schedule or float
        epochs : float > 0
            When it takes over, in epochs since the start; or
        share : float, 0 < share < 1
            as a share of the fit. A change in the middle of a step comes after that step.

        Returns
        -------
        Schedule
            In it each of the two takes its own stretch for the whole fit: a cosine before the change ends there, and
            the second begins at its first step.

        Raises
        ------
        DataError
            Both or none of ``epochs`` and ``share`` are given, or one of them is outside its limits.
        """
        return Then(self, _as_schedule(other), epochs=epochs, share=share)

    def __mul__(self, other: Schedule | float) -> Schedule:
        return Product.of(self, other)

    def __rmul__(self, other: float) -> Schedule:
        return Product.of(other, self)

    def __truediv__(self, other: float) -> Schedule:
        return Product.of(self, 1.0 / checked_number("The divisor of a schedule", other, above=0.0))

    def __add__(self, other: Schedule | float) -> Schedule:
        return Sum.of(self, other)

    def __radd__(self, other: float) -> Schedule:
        return Sum.of(other, self)

    def __float__(self) -> float:
        raise TypeError(f"{self!r} is no single number: its value depends on the step. Ask its at(moments).")

    # Plain data -------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Kind and parameters as plain data, from which `from_dict` makes an equal schedule."""
        return {"kind": type(self).__name__} | {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Schedule:
        """The schedule that `to_dict` described.

        Parameters
        ----------
        data : mapping

        Raises
        ------
        DataError, UnknownName
            It describes no schedule, or one of a kind that is not in the library.
        """
        return _read(data, 0)


Rate: TypeAlias = float | Schedule
"""A number, or a schedule that gives one for every step."""

_Kind = TypeVar("_Kind", bound=type[Schedule])
KINDS: dict[str, type[Schedule]] = {}
"""Schedules by the names that descriptions give them."""


def kind(cls: _Kind) -> _Kind:
    """Put a schedule of the library on the list of those that descriptions may name."""
    KINDS[cls.__name__] = cls
    return cls


def _as_schedule(value: Schedule | float) -> Schedule:
    return value if isinstance(value, Schedule) else Constant(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.to_dict()
    return [_plain(v) for v in value] if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownVariableType]


def _read(data: Any, depth: int) -> Any:
    """What `_plain` wrote."""
    if depth > _DEEPEST:
        raise DataError(f"A schedule may hold others up to {_DEEPEST} deep; this one goes deeper.")
    if isinstance(data, list) and depth:
        return tuple(_read(part, depth + 1) for part in data)  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(data, Mapping):
        if depth:
            return data
        raise DataError(f"A schedule is described by a mapping with its kind and parameters; got {data!r}.")
    name: Any = data.get("kind")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if not isinstance(name, str) or name not in KINDS:
        raise unknown_name("kind of schedule", name, KINDS)
    parameters = {f.name for f in dataclasses.fields(KINDS[name])}
    if set(data) != {"kind", *parameters}:  # pyright: ignore[reportUnknownArgumentType]
        raise DataError(f"{name} is described by kind, {', '.join(sorted(parameters))}; got {sorted(map(str, data))}.")  # pyright: ignore
    return KINDS[name](**{p: _read(data[p], depth + 1) for p in parameters})


@kind
@dataclass(frozen=True)
class Constant(Schedule):
    """The same number at every step.

    Parameters
    ----------
    value : float >= 0
    """

    value: float

    def at(self, moments: Moments) -> FloatArray:
        return np.full_like(moments.steps_done, self.value)


@dataclass(frozen=True)
class _Joined(Schedule):
    """Base of products and sums."""

    joined: tuple[Schedule, ...]
    sign: ClassVar[str] = ""

    def __post_init__(self) -> None:
        given: Any = self.joined
        if not isinstance(given, tuple) or not given or not all(isinstance(part, Schedule) for part in given):
            raise DataError(f"A {type(self).__name__} is made of schedules; got {self.joined!r}.")

    @classmethod
    def of(cls, *operands: Any) -> Any:
        """The operands as one schedule; NotImplemented where one of them is neither schedule nor number."""
        if not all(isinstance(o, (Schedule, int, float, np.number)) for o in operands):
            return NotImplemented
        schedules = map(_as_schedule, operands)
        return cls(tuple(part for s in schedules for part in (s.joined if isinstance(s, cls) else (s,))))

    @property
    def parts(self) -> tuple[Schedule, ...]:
        return self.joined

    def with_parts(self, parts: tuple[Schedule, ...]) -> Schedule:
        return type(self)(parts)

    def __repr__(self) -> str:
        return self.sign.join(f"({part!r})" if isinstance(part, _Joined) else repr(part) for part in self.joined)


@kind
@dataclass(frozen=True, repr=False)
class Product(_Joined):
    """Schedules multiplied with each other."""

    sign: ClassVar[str] = " * "

    def at(self, moments: Moments) -> FloatArray:
        return reduce(mul, (part.at(moments) for part in self.joined))


@kind
@dataclass(frozen=True, repr=False)
class Sum(_Joined):
    """Schedules added to each other."""

    sign: ClassVar[str] = " + "

    def at(self, moments: Moments) -> FloatArray:
        return reduce(add, (part.at(moments) for part in self.joined))


@kind
@dataclass(frozen=True, repr=False)
class Then(Schedule):
    """One schedule after another; see `Schedule.then`."""

    first: Schedule
    second: Schedule
    epochs: float | None = None
    share: float | None = None
    above: ClassVar[Mapping[str, float]] = {"epochs": 0.0, "share": 0.0}
    below: ClassVar[Mapping[str, float]] = {"share": 1.0}

    def __post_init__(self) -> None:
        for part in self.parts:
            if not isinstance(part, Schedule):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise DataError(f"A schedule is followed by a schedule; got {part!r}.")
        one_of(self, "epochs", "share")
        for name in ("epochs", "share"):
            object.__setattr__(self, name, self._checked(name, None, getattr(self, name)))

    @property
    def parts(self) -> tuple[Schedule, ...]:
        return self.first, self.second

    def with_parts(self, parts: tuple[Schedule, ...]) -> Schedule:
        first, second = parts
        return dataclasses.replace(self, first=first, second=second)

    def seen_by_parts(self, moments: Moments) -> tuple[Moments, ...]:
        # The second has a first step of its own, also where the change is in the middle of a step.
        change = math.ceil(moments.stretch(self.epochs, self.share) * (1 - _ROUNDING))
        rest = Moments(moments.steps_done - change, moments.steps - change, moments.steps_per_epoch)
        return dataclasses.replace(moments, steps=change), rest

    def at(self, moments: Moments) -> FloatArray:
        first, second = self.seen_by_parts(moments)
        begun = second.steps_done >= 0
        # Neither is asked about steps outside its stretch, where its formula may have no value.
        before = dataclasses.replace(first, steps_done=np.minimum(first.steps_done, max(first.steps - 1, 0)))
        after = dataclasses.replace(second, steps_done=np.maximum(second.steps_done, 0.0))
        return np.where(begun, self.second.at(after), self.first.at(before))

    def __repr__(self) -> str:
        first = f"({self.first!r})" if isinstance(self.first, _Joined) else repr(self.first)
        when = f"share={self.share!r}" if self.epochs is None else f"epochs={self.epochs!r}"
        return f"{first}.then({self.second!r}, {when})"


def one_of(schedule: Schedule, *names: str) -> None:
    """Refuse a schedule with both or none of two parameters."""
    given = [name for name in names if getattr(schedule, name) is not None]
    if len(given) != 1:
        came = " and ".join(f"{n}={getattr(schedule, n)!r}" for n in names)
        raise DataError(f"{type(schedule).__name__} takes either {' or '.join(names)}; got {came}.")
