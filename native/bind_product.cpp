// Products for tests and benchmarks; the engine calls the functions of product.h itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind_matrix.h"
#include "product.h"
#include "product_timing.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Array = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Name = std::optional<std::string>;

std::string shape_of(const Array& x) {
    std::string s = "(";
    for (std::size_t i = 0; i < x.ndim(); ++i) s += (i ? ", " : "") + std::to_string(x.shape(i));
    return s + (x.ndim() == 1 ? ",)" : ")");
}

void check_matrix(const Array& x, const char* name) {
    if (x.ndim() == 2) return;
    throw nb::value_error((std::string(name) + " must be a matrix; got shape " + shape_of(x) + ".").c_str());
}

template <class T>
nb::object new_matrix(std::size_t rows, std::size_t columns, T*& data) {
    auto owner = std::make_unique<Buffer<T>>(rows * columns);
    data = owner->data();
    nb::capsule capsule(owner.get(), [](void* p) noexcept { delete static_cast<Buffer<T>*>(p); });
    owner.release();
    return nb::ndarray<nb::numpy, T, nb::ndim<2>>(data, {rows, columns}, capsule).cast();
}

[[noreturn]] void refuse(const Array& a, const Array& b, const char* rule) {
    throw nb::value_error(
        ("shapes do not fit: a " + shape_of(a) + ", b " + shape_of(b) + "; expected " + rule + ".").c_str());
}

template <class T>
nb::object multiply(const Array& a, const Array& b, const T* bias, bool relu, Isa isa, bool transposed) {
    const std::size_t M = a.shape(0), K = a.shape(1), N = b.shape(transposed ? 0 : 1);
    const Products<T>& kernels = products<T>(isa);
    T* C;
    nb::object result = new_matrix<T>(M, N, C);
    Buffer<T> packed(kernels.packed_size(K, N));
    const T *A = static_cast<const T*>(a.data()), *B = static_cast<const T*>(b.data());
    nb::gil_scoped_release released;
    const std::size_t blocks = kernels.block_count(N);
    if (transposed) {
        kernels.pack_transposed(B, K, K, N, 0, blocks, packed.data());
    } else {
        kernels.pack(B, N, K, N, 0, blocks, packed.data());
    }
    const Epilogue epilogue = !bias ? Epilogue::none : relu ? Epilogue::bias_relu : Epilogue::bias;
    kernels.multiply({A, K, packed.data(), K, N, 0, M, 0, blocks, bias, epilogue, C, N});
    return result;
}

template <class T>
nb::object t_multiply(const Array& a, const Array& d, Isa isa) {
    const std::size_t K = a.shape(0), M = a.shape(1), N = d.shape(1);
    const Products<T>& kernels = products<T>(isa);
    T* C;
    nb::object result = new_matrix<T>(M, N, C);
    Buffer<T> workspace(kernels.t_workspace);
    const T *A = static_cast<const T*>(a.data()), *D = static_cast<const T*>(d.data());
    nb::gil_scoped_release released;
    kernels.t_multiply({A, M, D, N, K, 0, M, 0, N, C, N, workspace.data()});
    return result;
}

bool is_double(const Array& a, const Array& b) {
    if (a.dtype() == b.dtype()) {
        if (a.dtype() == nb::dtype<double>()) return true;
        if (a.dtype() == nb::dtype<float>()) return false;
    }
    throw nb::type_error("a and b must both be float32 or both be float64.");
}

nb::object matmul(const Array& a, const Array& b, const std::optional<Array>& bias, const Name& isa, bool relu) {
    check_matrix(a, "a");
    check_matrix(b, "b");
    const bool wide = is_double(a, b);
    if (a.shape(1) != b.shape(0)) refuse(a, b, "(M, K) and (K, N)");
    if (bias) {
        if (bias->dtype() != a.dtype()) throw nb::type_error("bias must have the dtype of a and b.");
        if (bias->ndim() != 1 || bias->shape(0) != b.shape(1)) {
            throw nb::value_error(("bias must have shape (" + std::to_string(b.shape(1)) + ",), one value for each "
                                   "column of b; got " + shape_of(*bias) + ".").c_str());
        }
    }
    if (relu && !bias) throw nb::value_error("relu needs a bias.");
    const void* row = bias ? bias->data() : nullptr;
    if (wide) return multiply(a, b, static_cast<const double*>(row), relu, isa_or_best(isa), false);
    return multiply(a, b, static_cast<const float*>(row), relu, isa_or_best(isa), false);
}

nb::object matmul_t(const Array& a, const Array& b, const Name& isa) {
    check_matrix(a, "a");
    check_matrix(b, "b");
    const bool wide = is_double(a, b);
    if (a.shape(1) != b.shape(1)) refuse(a, b, "(M, K) and (N, K)");
    if (wide) return multiply<double>(a, b, nullptr, false, isa_or_best(isa), true);
    return multiply<float>(a, b, nullptr, false, isa_or_best(isa), true);
}

nb::object t_matmul(const Array& a, const Array& b, const Name& isa) {
    check_matrix(a, "a");
    check_matrix(b, "b");
    const bool wide = is_double(a, b);
    if (a.shape(0) != b.shape(0)) refuse(a, b, "(K, M) and (K, N)");
    if (wide) return t_multiply<double>(a, b, isa_or_best(isa));
    return t_multiply<float>(a, b, isa_or_best(isa));
}

// Rows of a matrix that may lie apart.
using Rows = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using Output = nb::ndarray<nb::ndim<2>, nb::device::cpu>;
using Vector1 = nb::ndarray<nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Cuts = std::vector<std::size_t>;

void check_cuts(const Cuts& cuts, std::size_t end, const char* name) {
    if (!cuts.empty() && cuts.back() <= end && std::is_sorted(cuts.begin(), cuts.end())) return;
    throw nb::value_error((std::string(name) + " must rise, and end at " + std::to_string(end) + " or before.").c_str());
}

#define LW_CASE(name, slope) \
    if (s == #name) return Epilogue::name;

Epilogue epilogue_of(const std::string& s) {
    if (s == "none") return Epilogue::none;
    if (s == "bias") return Epilogue::bias;
    if (s == "bias_relu") return Epilogue::bias_relu;
    LW_SLOPES(LW_CASE)
    throw nb::value_error(("no epilogue " + s + ".").c_str());
}
#undef LW_CASE

// What an epilogue reads: `bias` (N,), or `other` (M, N).
struct Operands {
    Epilogue epilogue;
    const void *bias = nullptr, *other = nullptr;
    std::size_t ldo = 0;
};

Operands operands_of(const std::string& name, const std::optional<Rows>& bias, const std::optional<Rows>& other,
                     const Output& c) {
    Operands result{epilogue_of(name)};
    const bool wants_bias = result.epilogue == Epilogue::bias || result.epilogue == Epilogue::bias_relu;
    if (wants_bias != bias.has_value() || (result.epilogue != Epilogue::none && !wants_bias) != other.has_value()) {
        throw nb::value_error((name + " wants another operand.").c_str());
    }
    if (bias) {
        if (bias->dtype() != c.dtype() || bias->shape(0) != 1 || bias->shape(1) != c.shape(1)) {
            throw nb::value_error("bias must be (1, N), of the same dtype.");
        }
        result.bias = bias->data();
    }
    if (other) {
        if (other->dtype() != c.dtype() || other->shape(0) != c.shape(0) || other->shape(1) != c.shape(1)) {
            throw nb::value_error("other must be (M, N), of the same dtype.");
        }
        result.other = other->data();
        result.ldo = leading(*other, "other");
    }
    return result;
}

Kind kind_of(const std::string& s) {
    if (s == "matmul") return Kind::matmul;
    if (s == "matmul_t") return Kind::matmul_t;
    if (s == "t_matmul") return Kind::t_matmul;
    if (s == "t_matmul_packed") return Kind::t_matmul_packed;
    throw nb::value_error(("kind must be matmul, matmul_t, t_matmul or t_matmul_packed; got " + s + ".").c_str());
}

template <class T>
void multiply_parts(Kind kind, const Rows& a, const Rows& b, Output& c, const Cuts& rows,
                    const Cuts& columns, Isa isa, const Operands& operands) {
    const Products<T>& kernels = products<T>(isa);
    const bool packed_left = kind == Kind::t_matmul_packed, right = kind == Kind::matmul_t;
    const bool left = kind == Kind::t_matmul || packed_left, whole = kind == Kind::t_matmul;  // columns not in blocks
    const std::size_t M = a.shape(left), K = a.shape(!left), N = b.shape(!right);
    if (b.shape(right) != K || c.shape(0) != M || c.shape(1) != N) throw nb::value_error("shapes do not fit.");
    const std::size_t lda = leading(a, "a"), ldb = leading(b, "b"), ldc = leading(c, "c");
    const std::size_t blocks = kernels.block_count(N);
    check_cuts(rows, M, "row_cuts");
    check_cuts(columns, whole ? N : blocks, "column_cuts");
    Buffer<T> packed(kernels.packed_size(K, N)), workspace(kernels.t_workspace);
    const T *A = static_cast<const T*>(a.data()), *B = static_cast<const T*>(b.data());
    T* const C = static_cast<T*>(c.data());
    nb::gil_scoped_release released;
    for (std::size_t j = 0; j + 1 < columns.size(); ++j) {
        if (right) kernels.pack_transposed(B, ldb, K, N, columns[j], columns[j + 1], packed.data());
        if (!whole && !right) kernels.pack(B, ldb, K, N, columns[j], columns[j + 1], packed.data());
        for (std::size_t i = 0; i + 1 < rows.size(); ++i) {
            if (packed_left) {
                kernels.t_multiply_packed({A, lda, packed.data(), K, N, rows[i], rows[i + 1], columns[j],
                                           columns[j + 1], C, ldc, workspace.data()});
            } else if (left) {
                kernels.t_multiply({A, lda, B, ldb, K, rows[i], rows[i + 1], columns[j], columns[j + 1], C, ldc,
                                    workspace.data()});
            } else {
                kernels.multiply({A, lda, packed.data(), K, N, rows[i], rows[i + 1], columns[j], columns[j + 1],
                                  static_cast<const T*>(operands.bias), operands.epilogue, C, ldc,
                                  static_cast<const T*>(operands.other), operands.ldo});
            }
        }
    }
}

// Packs b between the cuts into `packed`: by "blocks", by blocks of bᵀ ("transposed"), or by "rows".
template <class T>
void pack_parts(const std::string& by, const Rows& b, Vector1& packed, const Cuts& cuts, Isa isa) {
    const Products<T>& kernels = products<T>(isa);
    const bool transposed = by == "transposed", rows = by == "rows";
    if (!transposed && !rows && by != "blocks") {
        throw nb::value_error(("by must be blocks, transposed or rows; got " + by + ".").c_str());
    }
    const std::size_t K = b.shape(transposed), N = b.shape(!transposed), ldb = leading(b, "b");
    check_cuts(cuts, rows ? K : kernels.block_count(N), "cuts");
    if (packed.shape(0) != kernels.packed_size(K, N)) throw nb::value_error("packed has another size.");
    const T* const B = static_cast<const T*>(b.data());
    T* const out = static_cast<T*>(packed.data());
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        (rows         ? kernels.pack_range
         : transposed ? kernels.pack_transposed
                      : kernels.pack)(B, ldb, K, N, cuts[i], cuts[i + 1], out);
    }
}

template <class T>
void column_sums(const Rows& d, Vector1& sums, const Cuts& cuts, Isa isa) {
    if (sums.shape(0) != d.shape(1)) throw nb::value_error("sums must have one place for each column of d.");
    check_cuts(cuts, d.shape(1), "cuts");
    const std::size_t ldd = leading(d, "d");
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        products<T>(isa).column_sums(static_cast<const T*>(d.data()), ldd, d.shape(0), cuts[i], cuts[i + 1],
                                     static_cast<T*>(sums.data()));
    }
}

bool is_double(nb::dlpack::dtype a, nb::dlpack::dtype b) {
    if (a == b && a == nb::dtype<double>()) return true;
    if (a == b && a == nb::dtype<float>()) return false;
    throw nb::type_error("dtypes must be equal, and float32 or float64.");
}

bool is_double(const std::string& dtype) {
    if (dtype == "float64") return true;
    if (dtype == "float32") return false;
    throw nb::value_error(("dtype must be float32 or float64; got " + dtype + ".").c_str());
}

}  // namespace

void bind_product(nb::module_& m) {
    using namespace nb::literals;
    m.def("matmul", &matmul, "a"_a, "b"_a, "bias"_a = nb::none(), "isa"_a = nb::none(), "relu"_a = false,
          "a (M, K) · b (K, N) + bias (N,), then max(·, 0) if relu.");
    m.def("matmul_t", &matmul_t, "a"_a, "b"_a, "isa"_a = nb::none(), "a (M, K) · bᵀ, b (N, K).");
    m.def("t_matmul", &t_matmul, "a"_a, "b"_a, "isa"_a = nb::none(), "aᵀ · b, a (K, M), b (K, N).");
    m.def(
        "multiply_parts",
        [](const std::string& kind, const Rows& a, const Rows& b, Output c, const Cuts& row_cuts,
           const Cuts& column_cuts, const Name& isa, const std::string& epilogue, const std::optional<Rows>& bias,
           const std::optional<Rows>& other) {
            const Operands operands = operands_of(epilogue, bias, other, c);
            is_double(a.dtype(), b.dtype());
            const auto run = is_double(a.dtype(), c.dtype()) ? multiply_parts<double> : multiply_parts<float>;
            run(kind_of(kind), a, b, c, row_cuts, column_cuts, isa_or_best(isa), operands);
        },
        "kind"_a, "a"_a, "b"_a, "c"_a, "row_cuts"_a, "column_cuts"_a, "isa"_a = nb::none(),
        "epilogue"_a = "none", "bias"_a = nb::none(), "other"_a = nb::none(),
        "The product into c, one call for each rectangle between the cuts, as threads would share it. column_cuts "
        "count blocks (columns for t_matmul alone). Rows of the matrices may lie apart. bias (1, N) and other (M, N) are "
        "what the epilogue reads; both t_matmul have none.");
    m.def(
        "pack_parts",
        [](const std::string& by, const Rows& b, Vector1 packed, const Cuts& cuts, const Name& isa) {
            const auto run = is_double(b.dtype(), packed.dtype()) ? pack_parts<double> : pack_parts<float>;
            run(by, b, packed, cuts, isa_or_best(isa));
        },
        "by"_a, "b"_a, "packed"_a, "cuts"_a, "isa"_a = nb::none(),
        "The packed copy of b, one call for each part between the cuts, which count blocks, or rows of b if by = "
        "\"rows\"; that of bᵀ if by = \"transposed\".");
    m.def(
        "column_sums",
        [](const Rows& d, Vector1 sums, const Cuts& cuts, const Name& isa) {
            const auto run = is_double(d.dtype(), sums.dtype()) ? column_sums<double> : column_sums<float>;
            run(d, sums, cuts, isa_or_best(isa));
        },
        "d"_a, "sums"_a, "cuts"_a, "isa"_a = nb::none(), "1ᵀ · d, one call for each part between the cuts.");
    m.def(
        "packed_size",
        [](std::size_t K, std::size_t N, const std::string& dtype, const Name& isa) {
            return is_double(dtype) ? products<double>(isa_or_best(isa)).packed_size(K, N)
                                    : products<float>(isa_or_best(isa)).packed_size(K, N);
        },
        "K"_a, "N"_a, "dtype"_a, "isa"_a = nb::none(), "Elements of a packed operand (K, N).");
    m.def(
        "product_block", [](const std::string& dtype, const Name& isa) {
            return is_double(dtype) ? products<double>(isa_or_best(isa)).block : products<float>(isa_or_best(isa)).block;
        },
        "dtype"_a, "isa"_a = nb::none(), "Columns of a block of a packed operand.");
    m.def(
        "fma_peak",
        [](const std::string& dtype, const Name& isa) {
            const Isa set = isa_or_best(isa);
            const bool wide = is_double(dtype);
            nb::gil_scoped_release released;
            return wide ? peak(products<double>(set)) : peak(products<float>(set));
        },
        "dtype"_a, "isa"_a = nb::none(), "GFLOP/s of multiply-adds in registers on one core.");
    m.def(
        "time_product",
        [](const std::string& kind, std::size_t M, std::size_t K, std::size_t N, const std::string& dtype,
           const Name& isa, std::size_t repeats, std::size_t stride, std::pair<std::size_t, std::size_t> parts,
           const std::string& epilogue) {
            const Timed timed{kind_of(kind), M, K, N, stride, parts.first, parts.second, epilogue_of(epilogue)};
            const bool wide = is_double(dtype);
            const Isa set = isa_or_best(isa);
            Times times;
            {
                nb::gil_scoped_release released;
                times = wide ? time_product(products<double>(set), timed, repeats)
                             : time_product(products<float>(set), timed, repeats);
            }
            nb::dict result;
            result["peak"] = times.peak;
            result["product"] = times.product;
            result["packing"] = times.packing;
            return result;
        },
        "kind"_a, "M"_a, "K"_a, "N"_a, "dtype"_a = "float32", "isa"_a = nb::none(), "repeats"_a = 20,
        "stride"_a = 0, "parts"_a = std::pair<std::size_t, std::size_t>(0, 0), "epilogue"_a = "none",
        "Lists, one entry for each of the interleaved repeats: `peak` and `product` in GFLOP/s, `packing` of b in "
        "seconds, not part of `product`. Time of this thread on its core. stride: that of the rows of a, in elements. "
        "parts: rows and columns (t_matmul only) of the parts of c that are one call each; 0 for all.");
}

}  // namespace lw
