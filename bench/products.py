"""Matrix products of the native module on one core, as parts of the peak of multiply-adds measured in between.

    python bench/products.py [--isa avx2] [--repeats 15]

Peak, product and NumPy's matmul (one thread) take turns in slices of half a millisecond or one call; each number is
the median of the ratios of neighbours, so a busy machine slows all three alike. Time is that of the thread on its
core. Packing of B is measured apart, in microseconds; that of AᵀD is part of the product.
"""

import argparse
import os
import statistics
import time

os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np

from layerwise import _native as native  # noqa: TID251  the kernels themselves are measured

SHAPES = {  # (rows, sum, columns) of A · B
    "matmul": [(1024, 256, 256), (128, 784, 128), (1000, 784, 1024), (512, 2048, 2048), (32, 64, 64), (96, 2048, 2048)],
    "matmul_t": [(1000, 1024, 784), (1024, 256, 256)],
    "t_matmul": [(784, 128, 128), (250, 1000, 1024), (780, 1000, 1024), (2048, 512, 2048), (64, 32, 64)],
}
NARROW = {
    "matmul": [(1024, 256, n) for n in (1, 3, 8, 10, 16, 32)] + [(300, 2, 100), (300, 100, 3), (1, 784, 128)],
    "t_matmul": [(784, 1000, 10), (100, 300, 3), (2, 300, 100), (256, 1024, 1)],
}


def numpy_seconds(kind, M, K, N, dtype):
    """Of one product in NumPy, at least a slice of them."""
    A, B = np.full((M, K), 0.5, dtype), np.full((K, N), 0.5, dtype)
    if kind == "matmul_t":
        B = np.ascontiguousarray(B.T).T
    if kind == "t_matmul":
        A = np.ascontiguousarray(A.T).T
    C = np.empty((M, N), dtype)
    calls, seconds = 1, 0.0
    np.matmul(A, B, out=C)
    while True:
        start = time.thread_time()
        for _ in range(calls):
            np.matmul(A, B, out=C)
        seconds = time.thread_time() - start
        if seconds > 5e-4:
            return seconds / calls
        calls *= 4


def measure(kind, M, K, N, dtype, isa, repeats):
    """Medians: % of peak, % of peak of NumPy, µs of a product, µs of packing."""
    flops = 2e-9 * M * K * N
    ours, theirs, times, packing = [], [], [], []
    for _ in range(repeats):
        run = native.time_product(kind, M, K, N, dtype, isa, repeats=3)
        rate, peak = statistics.median(run["product"]), statistics.median(run["peak"])
        ours.append(100 * rate / peak)
        times.append(1e6 * flops / rate)
        packing.append(1e6 * statistics.median(run["packing"]))
        theirs.append(100 * flops / numpy_seconds(kind, M, K, N, dtype) / peak)
    return [statistics.median(x) for x in (ours, theirs, times, packing)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", action="append", help="instruction set; all that run here if not given")
    parser.add_argument("--dtype", action="append")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    for isa in options.isa or native.isas():
        for dtype in options.dtype or ["float32", "float64"]:
            peak = statistics.median(native.fma_peak(dtype, isa) for _ in range(15))
            print(f"\n### {isa}, {dtype}: peak {peak:.1f} GFLOP/s\n")
            print("| product | rows × sum × columns | % of peak | NumPy, % of the same | µs | packing B, µs |")
            print("| --- | --- | --- | --- | --- | --- |")
            for table in (SHAPES, NARROW):
                for kind, shapes in table.items():
                    for shape in shapes:
                        ours, theirs, time_, pack = measure(kind, *shape, dtype, isa, options.repeats)
                        size = " × ".join(map(str, shape))
                        print(f"| {kind} | {size} | {ours:.1f} | {theirs:.1f} | {time_:.2f} | {pack:.2f} |", flush=True)


if __name__ == "__main__":
    main()
