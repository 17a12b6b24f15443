"""`LBFGS`: the quasi-Newton method of SciPy on the cost of all samples; the engine gives cost and gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from layerwise.engine.choice import engine_name, runner
from layerwise.errors import DataError
from layerwise.fit.course import Course
from layerwise.fit.divergence import largest
from layerwise.fit.history import Epoch
from layerwise.fit.task import Position, Task
from layerwise.network.checks import checked_count, checked_number
from layerwise.network.updates import UpdateRule
from layerwise.types import Array, FloatArray

_TRIES = 20
"""Evaluations of one line search, at most: SciPy's own number."""
_STALLED = 5
"""Iterations that lower the cost by no more than its rounding, after which the fit ends: one may be a short step."""
_MEASURED = 8192
"""Rows that are measured at once."""


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS: quasi-Newton steps on the whole data set, each with a line search; SciPy's implementation.

    An epoch is one iteration: a direction from the last steps and changes of the gradient, and along it a step after
    which the cost is lower and its slope less steep (the strong Wolfe conditions). There is no learning rate. Takes the
    whole data set at once (``batch_size=None``), and a cost without dropout or noise.

    Parameters
    ----------
    history : int
        Pairs of steps and changes of the gradient that are remembered; each takes the memory of all weights twice.
    tolerance : float >= 0
        The fit ends where no entry of the gradient of the cost is larger, in cost per unit of weight.
    max_evaluations : int, optional
        The fit ends before it needs more evaluations of cost and gradient than this. An iteration takes one, seldom
        more.

    Notes
    -----
    Needs SciPy: ``pip install layerwise[solvers]``. SciPy computes in float64; cost and gradient are computed in the
    precision of the fit, and its weights are those of SciPy rounded to it. The fit also ends where the cost falls by no
    more than its rounding, and where a line search finds no lower cost.

    For running statistics of batch normalisation an iteration is one step.

    What is remembered lies inside SciPy: ``train(..., params=fit)`` goes on from the weights alone, and such a fit
    cannot be saved to checkpoints.

    References
    ----------
    Liu and Nocedal (1989); Byrd, Lu, Nocedal and Zhu (1995), whose program SciPy has.

    Examples
    --------
    >>> import numpy as np, layerwise as lw
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> net = lw.Network([1, 8, 1], hidden="tanh")
    >>> fit = lw.train(net, X, X**2, optimizer=lw.LBFGS(), batch_size=None, epochs=50)
    >>> fit.history[-1].cost < 1e-4
    True
    """

    history: int = 10
    tolerance: float = 1e-7
    max_evaluations: int | None = None
    full_batch: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checked_count(self.history, "history of LBFGS")
        object.__setattr__(self, "tolerance", checked_number("tolerance of LBFGS", self.tolerance))
        if self.max_evaluations is not None:
            checked_count(self.max_evaluations, "max_evaluations of LBFGS")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Names and values, in the order of the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def refuse(self, **given: Any) -> None:
        """Raise a DataError where one of these arguments of `train` is given, which quasi-Newton steps do not have."""
        for name, value in given.items():
            if value is not None and value != 0:
                raise DataError(f"{name} cannot be given with LBFGS: {_REFUSED[name]}")


_SAVED = (
    "what it remembers lies inside SciPy and cannot be saved. Fit in parts of some epochs, train(..., params=fit), and "
    "save the weights of each; what is remembered begins anew with each part."
)
_REFUSED = {
    "checkpoint": _SAVED,
    "resume": _SAVED,
    "every_steps": _SAVED,
    "restarts": "it has no learning rate that could be smaller the next time.",
    "groups": "it has no learning rate, and its steps belong to all weights together.",
    "clip_value": "the gradient would no longer be that of the cost, which line searches go by.",
    "clip_norm": "the gradient would no longer be that of the cost, which line searches go by.",
}


@dataclass(frozen=True)
class WholeGradient(UpdateRule):
    """A step that moves nothing, but stores the gradient of each weight."""

    slots: ClassVar[tuple[str, ...]] = ("gradient",)
    full_batch: ClassVar[bool] = True

    def scalars(self, step: Any) -> dict[str, Any]:
        return {}

    def step(self, W: Any, g: Any, *slots: Any, **scalars: Any) -> tuple[Any, ...]:
        return W, g


@dataclass(frozen=True, eq=False)
class _Point:
    """Cost and gradient at some weights; replaced as a whole, so that Ctrl-C finds it consistent.

    Parameters
    ----------
    x : (p,) float64
        All weights that are trained.
    cost : float
    gradient : (p,) float64
    state : dict of str to array
        The other parameters, such as running statistics, after a step from here.
    number : int
        Whole iterations up to here.
    """

    x: FloatArray
    cost: float = math.nan
    gradient: FloatArray = field(default_factory=lambda: np.empty(0))
    state: Mapping[str, Array] = field(default_factory=dict[str, Array])
    number: int = 0

    @property
    def finite(self) -> bool:
        """Whether SciPy can go by it."""
        return math.isfinite(self.cost) and bool(np.isfinite(self.gradient).all())

    @property
    def steepest(self) -> float:
        """The largest entry of the gradient."""
        return float(np.max(np.abs(self.gradient), initial=0.0))


class _Enough(Exception):  # noqa: N818 -- an end, not an error
    """Leaves SciPy: it is known why the fit ends."""


class QuasiNewton(Course):
    """A fit by L-BFGS, in progress.

    Parameters
    ----------
    task : Task
        Its rule is `WholeGradient`.
    start : Position
    optimizer : LBFGS

    Raises
    ------
    DataError
        SciPy is absent; a cost that is random, or weights that are changed after a step.
    """

    def __init__(self, task: Task, start: Position, optimizer: LBFGS):
        self._minimize = _scipy_minimize()
        super().__init__(task, start, optimizer)
        self._lbfgs = optimizer
        graph = task.step_graph()
        step = graph.step()
        if step.address is not None:
            raise DataError(
                "LBFGS needs a cost that is the same whenever it is computed, and with dropout or noise it is not. "
                "Leave these out of the network, or use another optimizer such as layerwise.Adam()."
            )
        self._graph = graph.graph
        self._shapes = {name: graph.graph.parameters[name].shape for name, _ in graph.slots}
        for name in self._shapes:
            if graph.parameters[name] is not graph.graph.parameters[name]:
                raise DataError(
                    f"LBFGS changes {name} by line searches, and the network limits it after each step. Leave max_norm "
                    "out, or use another optimizer such as layerwise.Adam()."
                )
        others = [name for name in graph.graph.parameters if name not in self._shapes]
        gradients = [graph.new_slots[name, "gradient"] for name in self._shapes]
        nodes = [graph.cost, *gradients, *(graph.parameters[name] for name in others)]
        self._evaluate = runner(nodes, task.dtype, task.engine)
        self._measure = runner(step.measured, task.dtype, task.engine)
        x = np.concatenate([np.asarray(start.params[k], np.float64).reshape(-1) for k in self._shapes] or [np.empty(0)])
        self._now = _Point(x, state={name: start.params[name] for name in others}, number=start.steps)
        self._tried: _Point | None = None
        self._best = self._now
        self._evaluations = 0

    @property
    def engine(self) -> str:
        return engine_name(self.task.engine)

    @property
    def steps(self) -> int:
        return self._now.number

    # The run ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        self._epoch = len(self.epochs) + 1
        options = {
            "maxcor": self._lbfgs.history,
            "gtol": self._lbfgs.tolerance,
            "ftol": 0.0,  # SciPy takes costs below 1 for 1; whether they fall is looked at here
            "maxls": _TRIES,
            "maxiter": np.iinfo(np.int32).max,
            "maxfun": np.iinfo(np.int32).max,
        }
        try:
            while not self.stop_reason:
                begun = self.steps
                found = self._minimize(
                    self._cost,
                    self._now.x,
                    method="L-BFGS-B",
                    jac=True,
                    callback=self._after_iteration,
                    options=options,
                )
                # A search that failed is tried again without what is remembered, which may be of another valley: the
                # first direction is that of the gradient, and the first step has length 1.
                if found.success or self.steps == begun:
                    self._say_ended(bool(found.success))
        except _Enough as end:
            if end.__cause__ is not None:
                raise end.__cause__ from None
        self._take_best()

    def _cost(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Cost and gradient for SciPy."""
        task = self.task
        if task.max_seconds is not None and self._seconds() >= task.max_seconds:
            self._say_out_of_time()
            raise _Enough
        if self._evaluations == self._lbfgs.max_evaluations:
            self.stop_reason = f"The {self._evaluations} evaluations of max_evaluations are done{self._here()}."
            raise _Enough
        self._evaluations += 1
        now, tried = self._now, self._at(x)
        if not len(now.gradient):
            if not tried.finite:
                self._say_diverged(tried.cost)
                raise _Enough
            self._now = _Point(tried.x, tried.cost, tried.gradient, now.state, now.number)  # no step yet
        elif not tried.finite:
            # On the way to a cost that is infinite or NaN, SciPy's interpolation gives steps of NaN. It is told of a
            # parabola instead: the slope of this iterate, and a minimum at a tenth of the way or 1 from here.
            way = x - now.x
            share = min(0.1, 1.0 / float(np.linalg.norm(way)))
            slope = float(now.gradient @ way)
            return now.cost + (1.0 - 0.5 / share) * slope, (1.0 - 1.0 / share) * now.gradient
        self._tried = tried
        return tried.cost, tried.gradient

    def _at(self, x: FloatArray) -> _Point:
        now = self._now
        feeds = self._graph.feeds({**self._parts(x), **now.state}, *self.task.data.tables)
        cost, *found = self._evaluate.run(feeds)
        gradient = np.concatenate([np.asarray(g, np.float64).reshape(-1) for g in found[: len(self._shapes)]])
        state = dict(zip(now.state, map(np.array, found[len(self._shapes) :]), strict=True))
        return _Point(x.copy(), float(cost), gradient, state, now.number)

    def _after_iteration(self, intermediate_result: Any) -> None:
        """SciPy has found a lower cost. The parameter has the name by which SciPy knows what to give."""
        task, before, after = self.task, self._now, self._tried
        if after is None or not np.array_equal(after.x, intermediate_result.x):
            after = self._at(intermediate_result.x)
        self._now = after = _Point(after.x, after.cost, after.gradient, after.state, before.number + 1)
        self._record()
        try:
            self._judge()
        except StopIteration as error:  # of a listener: SciPy would take it for its own
            raise _Enough from error
        if task.watch is not None:
            task.watch.on_epoch_end(self.epochs[-1])
        self._epoch = len(self.epochs) + 1
        if self.stop_reason:
            pass
        elif after.steepest <= self._lbfgs.tolerance or self._stalled():
            self._say_ended(True)
        elif len(self.epochs) == task.epochs:
            self._say_done()
        elif self.steps == task.max_steps:
            self._say_out_of_steps()
        if self.stop_reason:
            raise _Enough

    def _stalled(self) -> bool:
        """Whether the last iterations together lowered the cost by no more than its rounding."""
        if self.steps - self._start.steps <= _STALLED:
            return False
        before, after = self.epochs[-1 - _STALLED].cost, self.epochs[-1].cost
        return before - after <= float(np.finfo(self.task.dtype).eps) * abs(before)

    def _record(self) -> None:
        self.epochs.append(Epoch(len(self.epochs) + 1, self._now.cost, self._seconds()))

    def _told(self, measured: float) -> None:
        """Nothing goes by it."""

    def _ended_early(self, save: bool) -> str:
        if self.steps - self._start.steps > len(self.epochs) - len(self._start.epochs):
            self._record()  # Ctrl-C came between the iteration and its epoch
        return ""

    # Ends ------------------------------------------------------------------------------------------------------

    def _say_ended(self, found: bool) -> None:
        """By what the last iterate is; ``found``: SciPy has not given up."""
        steepest, tolerance = self._now.steepest, self._lbfgs.tolerance
        gradient = f"the largest entry of the gradient is {steepest:.2g}"
        if steepest <= tolerance:
            self.stop_reason = f"A minimum: {gradient}, within the tolerance of {tolerance:g}{self._here()}."
        elif found:
            self.stop_reason = f"The cost no longer falls{self._here()}: {gradient}."
        else:
            self.stop_reason = f"The line search found no lower cost{self._here()}: {gradient}. {self._advice()}"

    def _advice(self) -> str:
        if self.task.dtype == "float32":
            return "The cost is rounded to 7 digits; dtype='float64' goes further."
        return (
            "Scale inputs and targets to about 1, or try a smooth activation such as 'tanh', or go on from here with "
            "another optimizer, by params."
        )

    def _say_diverged(self, cost: float) -> None:
        self.diverged = True
        what = f"The cost is {cost}" if not math.isfinite(cost) else "The gradient is infinite or NaN"
        X, Y, *_ = self.task.data.tables
        sizes = f"inputs reach {largest(X):.3g}" + (f", targets {largest(Y):.3g}" if Y.ndim > 1 else "")
        self.stop_reason = (
            f"{what} at the starting weights, which are kept. Scale inputs and targets to about 1 ({sizes}), or start "
            "from other weights."
        )

    # What there is at any time ---------------------------------------------------------------------------------

    def _parts(self, x: FloatArray) -> dict[str, Array]:
        """Weights by name, in the precision of the fit."""
        parts: dict[str, Array] = {}
        first = 0
        for name, shape in self._shapes.items():
            size = math.prod(int(d) for d in shape)
            with np.errstate(over="ignore"):  # infinite in float32: so is the cost, and the line search turns back
                parts[name] = x[first : first + size].astype(self.task.dtype).reshape([int(d) for d in shape])
            first += size
        return parts

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        now = self._now
        values = {**self._parts(now.x), **now.state}
        return {name: values[name] for name in self._graph.parameters}, {}

    def measure(self, tables: tuple[Array, ...], rows: Array | slice = slice(None)) -> list[Array]:
        params = self.state()[0]
        X, Y = (table[rows] for table in tables[:2])
        parts = [
            self._measure.run(self._graph.feeds(params, X[first : first + _MEASURED], Y[first : first + _MEASURED]))
            for first in range(0, len(X), _MEASURED)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _mark_best(self) -> None:
        self._best = self._now

    def _restore_best(self) -> None:
        best = self._best
        self._now = _Point(best.x, best.cost, best.gradient, best.state, self._now.number)


def _scipy_minimize() -> Any:
    try:
        from scipy.optimize import minimize  # slow to import, and needed only here
    except ImportError:
        raise DataError(
            "LBFGS needs SciPy, which is not installed. Run pip install 'layerwise[solvers]', or use another optimizer "
            "such as layerwise.Adam()."
        ) from None
    return minimize
