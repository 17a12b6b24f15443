"""Rows of a minibatch gathered by the native module on one core, against NumPy's take and copy.

    python bench/gather.py [--isa avx2] [--repeats 200]

Each call takes other rows in random order, so they come from memory where the source is larger than the cache. Both
take turns; each figure is the median, in GB of what is read and written a second. Time is that of the thread on its
core.
"""

import argparse
import statistics
import time

import numpy as np

from layerwise import _native as native  # noqa: TID251  the kernels themselves are measured

CASES = [  # rows of the source, columns, rows of a batch, from, to, order
    (60000, 784, 128, "float32", "float32", "C"),
    (60000, 784, 128, "uint8", "float32", "C"),
    (60000, 784, 128, "float64", "float32", "C"),
    (60000, 784, 128, "float32", "float64", "C"),
    (60000, 784, 1000, "float32", "float32", "C"),
    (500000, 28, 1024, "float32", "float32", "C"),
    (500000, 28, 1024, "float64", "float32", "C"),
    (500000, 28, 1024, "float32", "float32", "F"),
    (60000, 784, 128, "float32", "float32", "F"),
    (1797, 64, 32, "float64", "float64", "C"),
    (1797, 64, 32, "uint8", "float32", "C"),
    (500000, 1, 1024, "int64", "int64", "C"),
]


def measure(rows, columns, batch, source_type, type_, order, isa, repeats):
    """Medians of seconds a call: native, NumPy."""
    X = (
        np.asfortranarray(np.ones((rows, columns), source_type))
        if order == "F"
        else np.ones((rows, columns), source_type)
    )
    out, same = np.empty((batch, columns), type_), source_type == type_
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(repeats):
        first, second = rng.integers(rows, size=(2, batch))
        start = time.thread_time()
        native.gather(X, first, out, isa)
        middle = time.thread_time()
        if same:
            np.take(X, second, axis=0, out=out, mode="clip") if order == "C" else np.copyto(out, X[second])
        else:
            np.copyto(out, X[second], casting="unsafe")
        ours.append(middle - start)
        theirs.append(time.thread_time() - middle)
    return statistics.median(ours), statistics.median(theirs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--isa", default=native.isas()[-1])
    parser.add_argument("--repeats", type=int, default=200)
    arguments = parser.parse_args()
    print(f"{arguments.isa}{'native':>46}{'NumPy':>9} GB/s   native, µs")
    for case in CASES:
        rows, columns, batch, source_type, type_, order = case
        ours, theirs = measure(*case, arguments.isa, arguments.repeats)
        size = 1e-9 * batch * columns * (np.dtype(source_type).itemsize + np.dtype(type_).itemsize)
        name = f"{batch} of {rows} rows of {columns}, {source_type} {order} to {type_}"
        print(f"{name:56}{size / ours:6.1f}{size / theirs:9.1f}{1e6 * ours:13.1f}")


if __name__ == "__main__":
    main()
