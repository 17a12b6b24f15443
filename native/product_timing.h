// Timing of products against the peak of multiply-adds, for bind_product.cpp alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>
#include <vector>

#include "product.h"
#include "timing.h"

namespace lw {
namespace {

// Memory on a cache line, not initialised.
template <class T>
class Buffer {
public:
    explicit Buffer(std::size_t size) : size_(size), data_(static_cast<T*>(::operator new[](bytes(), alignment))) {}
    Buffer(Buffer&& other) noexcept : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() { ::operator delete[](data_, alignment); }
    T* data() const { return data_; }

private:
    static constexpr std::align_val_t alignment{64};
    std::size_t bytes() const { return std::max<std::size_t>(size_, 1) * sizeof(T); }
    std::size_t size_;
    T* data_;
};

volatile double sink;

template <class T>
double peak(const Products<T>& kernels) {
    constexpr std::size_t iterations = 2000;
    const auto f = [&] { sink = static_cast<double>(kernels.fma_loop(iterations, T(1e-3))); };
    static const std::size_t calls = 10;
    return static_cast<double>(kernels.fma_loop_flops * iterations) / seconds_per_call(f, calls) * 1e-9;
}

enum class Kind { matmul, matmul_t, t_matmul, t_matmul_packed };

// One product (M, K) · (K, N), computed in parts of `rows` × `columns` of its result (columns: of both t_matmul only), with
// rows of A `stride` elements apart.
struct Timed {
    Kind kind;
    std::size_t M, K, N, stride, rows, columns;
    Epilogue epilogue;
};

struct Times {
    std::vector<double> peak, product, packing;  // GFLOP/s, GFLOP/s, seconds
};

template <class T>
Times time_product(const Products<T>& kernels, const Timed& t, std::size_t repeats) {
    const bool whole = t.kind == Kind::t_matmul, left = whole || t.kind == Kind::t_matmul_packed;
    const bool right = t.kind == Kind::matmul_t;
    const std::size_t M = t.M, K = t.K, N = t.N;
    const std::size_t a_columns = left ? M : K, lda = std::max(t.stride, a_columns), ldb = right ? K : N;
    const std::size_t a_size = (left ? K : M) * lda, b_size = K * N;
    const std::size_t rows = t.rows ? t.rows : M, columns = t.columns ? t.columns : N;
    Buffer<T> A(a_size), B(b_size), C(M * N), packed(kernels.packed_size(K, N));
    Buffer<T> bias(N), other(M * N), workspace(kernels.t_workspace);
    const auto fill = [](const Buffer<T>& x, std::size_t size, std::size_t period) {
        for (std::size_t i = 0; i < size; ++i) x.data()[i] = static_cast<T>(i % period) / T(period) - T(0.5);
    };
    fill(A, a_size, 1009);
    fill(B, b_size, 1013);
    fill(bias, N, 1019);
    fill(other, M * N, 1021);
    const std::size_t blocks = kernels.block_count(N);
    const auto pack = [&] {
        if (right) kernels.pack_transposed(B.data(), ldb, K, N, 0, blocks, packed.data());
        if (!whole && !right) kernels.pack(B.data(), ldb, K, N, 0, blocks, packed.data());
    };
    const auto run = [&] {
        for (std::size_t i = 0; i < M; i += rows) {
            const std::size_t last = std::min(M, i + rows);
            if (!left) {
                kernels.multiply({A.data(), lda, packed.data(), K, N, i, last, 0, blocks, bias.data(), t.epilogue,
                                  C.data(), N, other.data(), N});
                continue;
            }
            for (std::size_t j = 0; j < N; j += columns) {
                if (!whole) {
                    kernels.t_multiply_packed({A.data(), lda, packed.data(), K, N, i, last, j / kernels.block,
                                               kernels.block_count(std::min(N, j + columns)), C.data(), N,
                                               workspace.data()});
                    continue;
                }
                kernels.t_multiply({A.data(), lda, B.data(), ldb, K, i, last, j, std::min(N, j + columns), C.data(),
                                    N, workspace.data()});
            }
        }
    };
    pack();
    const std::size_t calls = calls_in_slice(run), packs = whole ? 0 : calls_in_slice(pack);
    const double flops = 2e-9 * static_cast<double>(M) * static_cast<double>(K) * static_cast<double>(N);
    Times times;
    for (std::size_t i = 0; i < repeats; ++i) {
        times.peak.push_back(peak(kernels));
        times.product.push_back(flops / seconds_per_call(run, calls));
        times.packing.push_back(packs ? seconds_per_call(pack, packs) : 0.0);
    }
    return times;
}

}  // namespace
}  // namespace lw
