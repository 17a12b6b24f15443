"""Elementwise programs of the native module on one core: nanoseconds for each element, next to NumPy.

    python bench/maps.py [--isa avx2] [--dtype float32] [--repeats 9]

Ours and NumPy (the same operations one by one, with outputs given) take turns; each number is a median. Time is that of
the thread on its core. "not prepared": the operations are turned into steps at every call.
"""

import argparse
import statistics
import time

import numpy as np

from layerwise import _native as native  # noqa: TID251  the kernels themselves are measured

KERNELS = {name: i for i, (name, _, _) in enumerate(native.map_kernels())}
FULL, SCALAR = 0, 3

# name: (matrices, numbers, operations (kernel, operands), outputs in place of the first matrices). Registers count the
# matrices, then the numbers, then the operations.
PROGRAMS = {
    "add": (2, 0, [("add", 0, 1)], None),
    "sqrt, divide": (2, 0, [("sqrt", 0), ("divide", 1, 2)], None),
    "relu slope": (2, 2, [("greater", 0, 2), ("where", 4, 3, 2), ("multiply", 1, 5)], None),
    "SGD": (2, 1, [("multiply", 2, 1), ("subtract", 0, 3)], [4]),
    "momentum": (3, 2, [("multiply", 3, 1), ("add", 5, 2), ("multiply", 4, 6), ("subtract", 0, 7)], [8, 6]),
    "Adam": (
        4,
        7,
        [
            *[("multiply", 4, 1), ("multiply", 5, 3), ("add", 11, 12)],
            *[("multiply", 6, 2), ("square", 3), ("multiply", 7, 15), ("add", 14, 16)],
            *[("sqrt", 17), ("multiply", 18, 8), ("add", 19, 9)],
            *[("divide", 13, 20), ("multiply", 10, 21), ("subtract", 0, 22)],
        ],
        [23, 13, 17],
    ),
    "power": (2, 0, [("power", 0, 1)], None),
    "tanh, multiply": (2, 0, [("tanh", 0), ("multiply", 2, 1)], None),
}
SHAPES = [(1, 1), (1, 48), (1, 4810), (96, 256), (1, 139_000)]


def measure(name, shape, dtype, isa, repeats):
    """Medians in nanoseconds per call: prepared, not prepared, NumPy."""
    matrices, numbers, ops, in_place = PROGRAMS[name]
    x = [np.full(shape, 0.5 + 0.1 * i, dtype) for i in range(matrices)]
    x += [np.full((1, 1), 0.001, dtype) for _ in range(numbers)]
    results = in_place or [len(x) + len(ops) - 1]
    outputs = x[: len(results)] if in_place else [np.empty(shape, dtype)]
    words = [len(results), len(x), len(x) + len(ops), len(ops), *[FULL] * matrices, *[SCALAR] * numbers, *results]
    for i, (kernel, *operands) in enumerate(ops):
        words += [KERNELS[kernel], len(x) + i, *operands, *[0] * (3 - len(operands)), 0]
    calls = max(1, round(5e5 / (50 * len(ops) + shape[0] * shape[1] * 0.1 * len(ops))))

    registers = [*x, *(np.empty(shape, bool if kernel == "greater" else dtype) for kernel, *_ in ops)]
    functions = [getattr(np, kernel) for kernel, *_ in ops]

    def by_numpy():
        for i, (f, (_, *operands)) in enumerate(zip(functions, ops, strict=True)):
            a = [registers[r] for r in operands]
            if f is np.where:
                registers[len(x) + i] = np.where(*a)
            else:
                f(*a, out=registers[len(x) + i])

    taken = ([], [], [])
    for _ in range(repeats):
        for i, prepared in enumerate((True, False)):
            taken[i].append(native.run_map(words, [], x, outputs, isa, calls, prepared) * 1e9)
        start = time.thread_time()
        for _ in range(max(1, calls // 4)):
            by_numpy()
        taken[2].append((time.thread_time() - start) / max(1, calls // 4) * 1e9)
    return [statistics.median(t) for t in taken]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", action="append", help="instruction set; all that run here if not given")
    parser.add_argument("--dtype", action="append")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    for isa in options.isa or native.isas():
        for dtype in options.dtype or ["float32", "float64"]:
            print(f"\n### {isa}, {dtype}\n")
            print(
                "| program | shape | ns per call | ns per element | not prepared, ns per call | NumPy, ns per element |"
            )
            print("| --- | --- | --- | --- | --- | --- |")
            for name in PROGRAMS:
                for shape in SHAPES:
                    n = shape[0] * shape[1]
                    ours, unprepared, numpy = measure(name, shape, dtype, isa, options.repeats)
                    size = " × ".join(map(str, shape))
                    print(f"| {name} | {size} | {ours:.0f} | {ours / n:.3f} | {unprepared:.0f} | {numpy / n:.3f} |")


if __name__ == "__main__":
    main()
