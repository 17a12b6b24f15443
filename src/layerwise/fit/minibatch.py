"""`train`: gradient descent over minibatches or over the whole data set at once."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from layerwise.engine.training import Data
from layerwise.errors import CheckpointError, DataError, DivergenceWarning, TrainingInterrupted
from layerwise.fit.arguments import batches, listeners, reader, remembers, start_of, tables_of, watcher
from layerwise.fit.blocks import Blocks, refuse_with_blocks
from layerwise.fit.callbacks import Audience, keep_in
from layerwise.fit.checkpoints import CheckpointFolder
from layerwise.fit.course import Course
from layerwise.fit.diagnostics import notes_before
from layerwise.fit.history import Fit
from layerwise.fit.loop import Loop
from layerwise.fit.quasi_newton import LBFGS, QuasiNewton, WholeGradient
from layerwise.fit.saving import Checkpoints
from layerwise.fit.stopping import Patience
from layerwise.fit.task import OnEpoch, Position, Task
from layerwise.fit.validation import Validation, chosen_metrics, given_rows
from layerwise.network.checks import checked_count, checked_number
from layerwise.network.groups import Clip, Group
from layerwise.network.network import Network
from layerwise.network.updates import Momentum, UpdateRule
from layerwise.randomness import Stream, permutation


def train(
    net: Network,
    X: Any,
    Y: Any = None,
    *,
    params: Mapping[str, Any] | Fit | None = None,
    optimizer: UpdateRule | LBFGS | None = None,
    batch_size: int | None = 128,
    epochs: int = 10,
    seed: int = 0,
    sample_weight: Any = None,
    class_weight: Any = None,
    groups: Mapping[str, Group] | None = None,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    validation: Any = None,
    metric: Any = None,
    patience: int | None = None,
    min_improvement: float = 0.0,
    restore_best: bool = True,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    restarts: int = 0,
    diagnostics: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    every: int = 1,
    every_steps: int | None = None,
    keep: int = 3,
    dtype: str | None = None,
    engine: str = "native",
    on_epoch_end: OnEpoch | Sequence[OnEpoch] | None = None,
    progress: bool = False,
) -> Fit:
    """Learn the weights of a network.

    Parameters
    ----------
    net : Network
    X : (N, n_0) array_like, or Blocks
        Samples in rows; any real dtype and memory layout. Converted batch by batch, never modified. Or `Blocks` of
        inputs and targets, where these are larger than memory; Y is then left out.
    Y : (N, n_L) array_like, or (N,) for one output or for the labels of cross-entropy
    params : dict of str to array, or Fit, optional
        Starting weights; by default ``net.initialise(seed)``. Not modified. From a `Fit` the training goes on after
        its last step: with what the optimizer remembers, the count of steps, and another order of the samples.
    optimizer : UpdateRule or LBFGS, optional
        By default ``Momentum(0.01, 0.9)``. The learning rate of a rule may be a `Schedule`.
    batch_size : int or None
        Samples a step. The last batch of an epoch holds what is left. None, or a number from N on:
        the whole data set at once, in its own order.
    epochs : int
        Passes over the data.
    seed : int
        Of starting weights, of the order of samples, of masks, and of the rows that are held out.
    sample_weight : (N,) array_like, optional
        >= 0; scaled to mean 1 over the data set. A row of weight 0 is absent.
    class_weight : "balanced" or dict of class number to float, optional
        What the weights of the samples of a class are multiplied by; "balanced": N / (K · samples of the class), so
        that all K classes weigh the same.
    groups : dict of str to Group, optional
        Learning rate and decay of the parameters whose names fit a pattern: ``{"b*": lw.Group(weight_decay=0.0)}``.
    clip_value, clip_norm : float > 0, optional
        Limit of each entry of the gradients; of the norm of all gradients together.
    validation : float, or tuple (X, Y) or (X, Y, sample_weight), optional
        Rows to judge every epoch by: a share of the rows, which are then not learned from (classes by their shares),
        or rows of their own.
    metric : str, callable, or list of these, optional
        What is found on the validation rows besides the cost: names such as "accuracy", "roc_auc", "rmse", or
        functions of targets and outputs, of which less is better. The first one decides which epoch is the best; by
        default the cost does.
    patience : int, optional
        As many epochs without an improvement end the fit. Needs ``validation``.
    min_improvement : float
        Changes of the score up to this are no improvement.
    restore_best : bool
        Whether the weights are those of the best epoch, of equal ones the last, instead of the last step's.
    max_steps, max_seconds : optional
        The fit ends after as many steps, or before the first step that would begin later; seconds by the monotonic
        clock.
    restarts : int
        As many times a fit that diverges begins again, with a tenth of its learning rate.
    diagnostics : bool
        Whether norms, dead and saturated units of each layer are found after every epoch: ``fit.history[-1].layers``.
    checkpoint : path, optional
        A folder for checkpoints: all that is needed to go on as if nothing had happened. It is made if there is none,
        and must hold none of an earlier fit.
    resume : path, optional
        The folder of a fit that was cut off: with the same data and settings it goes on after the newest checkpoint
        that is whole, to the same bits, and saves there. A folder without checkpoints is one of a fit that had not
        begun.
    every, every_steps : int
        Epochs from one checkpoint to the next, or steps. The start and the end are saved as well.
    keep : int
        Whole checkpoints that stay in the folder.
    dtype : {"float64", "float32"}, optional
        Precision; by default that of ``params``, else float64.
    engine : {"native", "numpy"}
        What runs the steps. NumPy is the definition; native code agrees with it to rounding, and is the same to the
        bit on any number of threads.
    on_epoch_end : callable(Epoch), or list of these, optional
        Called after each epoch. What one returns, if not None or False, ends the fit; text is given as the reason.
        A `Callback`, such as `CSVLog`, is also told of the start and the end of the fit. What one raises ends the
        fit and is raised here, with what was learned in its ``.fit``; with ``checkpoint`` that is saved as well.
    progress : bool
        Whether to show on standard error how far the fit is: a bar in a terminal, elsewhere a line every few seconds.

    Returns
    -------
    Fit
        ``fit.params``, ``fit.history``, ``fit.stop_reason``, ``fit.best_epoch``, ``fit.notes``.

    Raises
    ------
    ShapeError, DataError
        Data or numbers that do not fit.
    CheckpointError
        The folder cannot be written, is in use by another fit, or is of a fit with other data or settings.
    TrainingInterrupted
        Ctrl-C; a KeyboardInterrupt whose ``.fit`` holds the weights of the last whole step, or with validation those
        of the best epoch.

    Warns
    -----
    DivergenceWarning
        The cost stopped being finite: the fit ends with the last weights whose cost was finite. Or an epoch
        cost `GROWTH` times as much as the start: it ends with the weights of the lowest cost. With validation it ends
        with those of the best epoch.
    CheckpointWarning
        A checkpoint after the first could not be saved; earlier ones are intact, and the fit goes on.

    Examples
    --------
    >>> import numpy as np, layerwise as lw
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> fit = lw.train(lw.Network([1, 8, 1], hidden="tanh"), X, X**2, optimizer=lw.SGD(0.1), epochs=2)
    >>> fit.stop_reason
    'All 2 epochs are done.'
    """
    if not isinstance(net, Network):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"train takes a Network first; got {type(net).__name__}.")
    permutation(seed, Stream.SHUFFLE, 0, 1)  # refuses what is no seed, also where no order is drawn
    optimizer = Momentum() if optimizer is None else optimizer
    if not isinstance(optimizer, (UpdateRule, LBFGS)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"optimizer must be an update rule such as layerwise.SGD(0.1); got {optimizer!r}.")
    if isinstance(optimizer, LBFGS):
        optimizer.refuse(
            checkpoint=checkpoint,
            resume=resume,
            every_steps=every_steps,
            restarts=restarts,
            groups=groups,
            clip_value=clip_value,
            clip_norm=clip_norm,
        )
    start, dtype = start_of(net, params, seed, dtype, optimizer)
    blocks = None
    if isinstance(X, Blocks):
        refuse_with_blocks(Y=Y, sample_weight=sample_weight, class_weight=class_weight, every_steps=every_steps)
        blocks = reader(net, X, batch_size, optimizer, groups or {}, seed, dtype)
        labels = blocks.sample[1].ndim == 1
        judge = None if validation is None else given_rows(net, validation, dtype, labels, share=False)
        data = Data(blocks.sample, blocks.batch_size, seed)
    else:
        tables, judge = tables_of(net, X, Y, sample_weight, class_weight, validation, seed, dtype)
        data = batches(net, tables, batch_size, optimizer, seed, dtype)
    judged = None if judge is None else Validation(judge[0], judge[1], chosen_metrics(net, metric), net)
    for name, value in (("metric", metric), ("patience", patience)):
        if judged is None and value is not None:
            raise DataError(f"{name} needs rows to judge by. Give validation=0.2, or validation=(X, Y).")
    rule = optimizer if isinstance(optimizer, UpdateRule) else WholeGradient()
    task = Task(
        net,
        rule,
        groups or {},
        Clip(clip_value, clip_norm),
        data,
        dtype,
        engine,
        checked_count(epochs, "epochs") + len(start.epochs),
        None if max_steps is None else checked_count(max_steps, "max_steps") + start.steps,
        None if max_seconds is None else checked_number("max_seconds", max_seconds, above=0.0) + start.seconds,
        judged,
        Patience(judged is not None and judged.larger_is_better, patience, min_improvement, len(start.epochs)),
        restore_best,
        diagnostics,
        listeners(on_epoch_end),
        watcher(progress),
        0 if remembers(start, net, rule) else start.steps,
        blocks,
    )
    restarts = 0 if restarts == 0 else checked_count(restarts, "restarts")
    notes = notes_before(net, data.tables[0], data.tables[1], start.params)
    if isinstance(optimizer, LBFGS):
        course = QuasiNewton(task, start, optimizer)
        course.notes = notes
        fit = _attempt(course)
    else:
        with _opened(task, checkpoint, resume, every, every_steps, keep) as saves:
            fit = _run(task, start, restarts, saves, notes)
    if fit.diverged:
        warnings.warn(fit.stop_reason, DivergenceWarning, stacklevel=2)
    return fit


def _run(task: Task, start: Position, restarts: int, saves: Checkpoints | None, notes: list[str]) -> Fit:
    """Fit a task, from the newest checkpoint if there is one; again at a smaller rate where it diverges."""
    resumed = None if saves is None else saves.resumed(notes)
    done = 0 if saves is None else saves.restarts
    while True:
        rule = task.rule if not done else task.rule.at({"learning_rate": task.rule.learning_rate / 10.0**done})
        loop = Loop(replace(task, rule=rule), resumed or start, saves)
        loop.notes = notes
        fit = _attempt(loop)
        if not loop.diverged or done >= restarts:
            break
        notes.append(f"Begun again with a tenth of the learning rate: {loop.stop_reason}")
        done, resumed = done + 1, None
        start = replace(start, seconds=loop.position().seconds)  # which max_seconds counts
        if saves is not None:
            saves.begin_again()
    return fit


def _attempt(course: Course) -> Fit:
    """Run to the end. By whatever it comes, those who listen are told, and what was learned is kept."""
    watch = course.task.watch
    # The progress ends first: what others say at the end stands below it.
    with Audience([*course.task.on_epoch_end, *([] if watch is None else [watch])]) as audience:
        audience.begin(course.info())
        try:
            course.run()
            audience.fit = course.fit()
        except KeyboardInterrupt:
            audience.fit = course.interrupted()
            raise TrainingInterrupted(audience.fit) from None
        except Exception as error:
            audience.fit, saved = course.failed(error)
            keep_in(error, audience.fit, saved)
            raise
    return audience.fit


@contextlib.contextmanager
def _opened(
    task: Task, checkpoint: Any, resume: Any, every: int, every_steps: int | None, keep: int
) -> Generator[Checkpoints | None, None, None]:
    """What saves to the folder that is named, if one is."""
    if checkpoint is None and resume is None:
        yield None
        return
    if checkpoint is not None and resume is not None:
        raise DataError("Give either checkpoint, for a new fit, or resume, to go on with one; not both.")
    if resume is not None and not os.path.isdir(resume):
        raise CheckpointError(f"There is no folder {os.fsdecode(resume)} to resume from.")
    checked_count(every, "every")
    if every_steps is not None:
        checked_count(every_steps, "every_steps")
    where: Any = resume if checkpoint is None else checkpoint
    with CheckpointFolder(where, keep) as folder:
        if checkpoint is not None and folder.newest() is not None:
            raise CheckpointError(
                f"{folder.path} holds checkpoints of an earlier fit. Go on with that by "
                f"resume={os.fsdecode(checkpoint)!r}, or give an empty folder."
            )
        yield Checkpoints(folder, task, every, every_steps)
