// The kernels of rows.h and layout.h for tests and measurements; the engine calls them itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "bind_matrix.h"
#include "layout.h"
#include "rows.h"
#include "timing.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Name = std::optional<std::string>;
using In = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using Out = nb::ndarray<nb::ndim<2>, nb::device::cpu>;
using FlatIn = nb::ndarray<nb::ro, nb::ndim<1>, nb::device::cpu>;
using FlatOut = nb::ndarray<nb::ndim<1>, nb::device::cpu>;
using Index = nb::ndarray<nb::ro, std::int64_t, nb::ndim<1>, nb::device::cpu>;
using Labels = nb::ndarray<nb::ro, std::int64_t, nb::ndim<2>, nb::device::cpu>;

void check(bool fits, const std::string& what) {
    if (!fits) throw nb::value_error((what + ".").c_str());
}

template <class T, class A>
T* data(const A& x) {
    check(x.dtype() == nb::dtype<std::remove_const_t<T>>(), "dtypes must be equal");
    return static_cast<T*>(x.data());
}

void check_shape(const auto& x, std::size_t rows, std::size_t columns, const char* name) {
    check(x.shape(0) == rows && x.shape(1) == columns,
          std::string(name) + " must have shape (" + std::to_string(rows) + ", " + std::to_string(columns) + ")");
}

Reduction reduction_of(const std::string& name) {
    const char* const names[] = {"sum", "mean", "max", "logsumexp"};
    for (int i = 0; i < 4; ++i) {
        if (name == names[i]) return static_cast<Reduction>(i);
    }
    throw nb::value_error("op must be sum, mean, max or logsumexp.");
}

// f<T>() for the T of an array.
template <class F>
void with_type(nb::dlpack::dtype dtype, F f) {
    if (dtype == nb::dtype<float>()) {
        f(float{});
    } else if (dtype == nb::dtype<double>()) {
        f(double{});
    } else {
        throw nb::value_error("dtype must be float32 or float64.");
    }
}

void softmax(const std::string& kind, const In& z, const Out& out, std::size_t groups, const Name& isa) {
    check(kind == "softmax" || kind == "log_softmax", "kind must be softmax or log_softmax");
    check(groups > 0 && z.shape(1) % groups == 0, "groups must divide the columns");
    check_shape(out, z.shape(0), z.shape(1), "out");
    with_type(z.dtype(), [&](auto zero) {
        using T = decltype(zero);
        const RowKernels<T>& k = row_kernels<T>(isa_or_best(isa));
        const T* const from = data<const T>(z);
        T* const to = data<T>(out);
        const auto f = kind == "softmax" ? k.softmax : k.log_softmax;
        f(from, leading(z), to, leading(out), z.shape(0), groups, z.shape(1) / groups);
    });
}

void softmax_cross_entropy(const In& z, const In& targets, const Out& loss, const std::optional<Out>& a,
                           const Name& isa) {
    check_shape(targets, z.shape(0), z.shape(1), "targets");
    check_shape(loss, z.shape(0), 1, "loss");
    if (a) check_shape(*a, z.shape(0), z.shape(1), "a");
    with_type(z.dtype(), [&](auto zero) {
        using T = decltype(zero);
        row_kernels<T>(isa_or_best(isa))
            .softmax_cross_entropy(data<const T>(z), leading(z), data<const T>(targets), leading(targets),
                                   data<T>(loss), leading(loss), a ? data<T>(*a) : nullptr, a ? leading(*a) : 0,
                                   z.shape(0), z.shape(1));
    });
}

void row_reduce(const In& x, const Out& out, const std::string& op, const Name& isa) {
    const std::size_t groups = out.shape(1);
    check(out.shape(0) == x.shape(0) && groups > 0 && x.shape(1) % groups == 0, "out must have the rows of x and a "
          "number of columns that divides its columns");
    with_type(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        row_kernels<T>(isa_or_best(isa))
            .row_reduce(data<const T>(x), leading(x), data<T>(out), leading(out), x.shape(0), groups,
                        x.shape(1) / groups, reduction_of(op));
    });
}

void column_reduce(const In& d, const Out& out, const std::string& op, const Name& isa) {
    check_shape(out, 1, d.shape(1), "out");
    check(op != "logsumexp", "logsumexp is not offered down columns");
    with_type(d.dtype(), [&](auto zero) {
        using T = decltype(zero);
        row_kernels<T>(isa_or_best(isa))
            .column_reduce(data<const T>(d), leading(d), d.shape(0), d.shape(1), data<T>(out), reduction_of(op));
    });
}

// Nanoseconds of one call, one figure for each repeat.
std::vector<double> time_rows(const std::string& kernel, std::size_t rows, std::size_t columns, std::size_t groups,
                              const std::string& dtype, const Name& isa, std::size_t repeats) {
    std::vector<double> result;
    with_type(dtype == "float64" ? nb::dtype<double>() : nb::dtype<float>(), [&](auto zero) {
        using T = decltype(zero);
        const RowKernels<T>& k = row_kernels<T>(isa_or_best(isa));
        const std::size_t n = rows * columns;
        std::vector<T> z(n), t(n), a(n), l(std::max(rows * groups, columns));
        for (std::size_t i = 0; i < n; ++i) z[i] = static_cast<T>(3 * std::sin(static_cast<double>(i * i % 8191)));
        for (std::size_t r = 0; r < rows; ++r) t[r * columns + r % columns] = 1;
        const auto call = [&] {
            const std::size_t length = columns / groups;
            if (kernel == "softmax") k.softmax(z.data(), columns, a.data(), columns, rows, groups, length);
            else if (kernel == "log_softmax") k.log_softmax(z.data(), columns, a.data(), columns, rows, groups, length);
            else if (kernel == "cross_entropy")
                k.softmax_cross_entropy(z.data(), columns, t.data(), columns, l.data(), 1, nullptr, 0, rows, columns);
            else if (kernel == "cross_entropy_and_softmax")
                k.softmax_cross_entropy(z.data(), columns, t.data(), columns, l.data(), 1, a.data(), columns, rows,
                                        columns);
            else if (kernel.starts_with("row_"))
                k.row_reduce(z.data(), columns, l.data(), groups, rows, groups, length, reduction_of(kernel.substr(4)));
            else if (kernel.starts_with("column_"))
                k.column_reduce(z.data(), columns, rows, columns, l.data(), reduction_of(kernel.substr(7)));
            else throw nb::value_error("no such kernel.");
        };
        const std::size_t calls = calls_in_slice(call);
        for (std::size_t i = 0; i < repeats; ++i) result.push_back(seconds_per_call(call, calls) * 1e9);
    });
    return result;
}

// Layout -------------------------------------------------------------------------------------------------------

// The whole of a flat array, and the element that a list of dims starts at; none of its indexes may lead outside.
template <class Dims>
void check_inside(std::size_t size, std::ptrdiff_t offset, const Dims& dims, const char* name) {
    std::ptrdiff_t low = offset, high = offset;
    for (const auto& [n, stride] : dims) {
        if (n == 0) return;
        (stride < 0 ? low : high) += static_cast<std::ptrdiff_t>(n - 1) * stride;
    }
    check(low >= 0 && high < static_cast<std::ptrdiff_t>(size), std::string(name) + " is left by an index");
}

using Steps = std::vector<std::pair<std::size_t, std::ptrdiff_t>>;

void copy_arrays(const FlatOut& out, const FlatIn& x,
                  const std::vector<std::tuple<std::size_t, std::ptrdiff_t, std::ptrdiff_t>>& dims,
                  std::ptrdiff_t out_offset, std::ptrdiff_t x_offset) {
    check(dims.size() <= max_dims, "too many dims");
    Steps outs, xs;
    std::vector<CopyDim> d;
    for (const auto& [size, o, i] : dims) {
        d.push_back({size, o, i});
        outs.emplace_back(size, o);
        xs.emplace_back(size, i);
    }
    check_inside(out.size(), out_offset, outs, "out");
    check_inside(x.size(), x_offset, xs, "x");
    with_type(x.dtype(), [&](auto zero) {
        using T = decltype(zero);
        strided_copy(data<T>(out) + out_offset, data<const T>(x) + x_offset, d.data(), static_cast<int>(d.size()));
    });
}

void contract_arrays(const FlatOut& out, const FlatIn& a, const FlatIn& b,
              const std::vector<std::tuple<std::size_t, std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t>>& dims,
              std::tuple<std::ptrdiff_t, std::ptrdiff_t, std::ptrdiff_t> offsets) {
    check(dims.size() <= max_dims, "too many dims");
    Steps outs, as, bs;
    std::vector<ContractDim> d;
    for (const auto& [size, o, i, j] : dims) {
        d.push_back({size, o, i, j});
        outs.emplace_back(o == 0 ? 1 : size, o);
        as.emplace_back(size, i);
        bs.emplace_back(size, j);
    }
    const auto [out_offset, a_offset, b_offset] = offsets;
    check_inside(out.size(), out_offset, outs, "out");
    check_inside(a.size(), a_offset, as, "a");
    check_inside(b.size(), b_offset, bs, "b");
    with_type(a.dtype(), [&](auto zero) {
        using T = decltype(zero);
        contract(data<T>(out) + out_offset, data<const T>(a) + a_offset, data<const T>(b) + b_offset, d.data(),
                 static_cast<int>(d.size()));
    });
}

void check_index(bool good, const BadIndex& bad, const char* what) {
    check(good, std::string(what) + " must be in 0 .. " + std::to_string(static_cast<std::int64_t>(bad.limit) - 1) +
                    "; got " + std::to_string(bad.value) + " at position " + std::to_string(bad.position));
}

std::size_t step(const Index& index) { return index.size() > 1 ? static_cast<std::size_t>(index.stride(0)) : 1; }

void take_arrays(const Out& out, const In& table, const Index& index) {
    check_shape(out, index.size(), table.shape(1), "out");
    with_type(table.dtype(), [&](auto zero) {
        using T = decltype(zero);
        BadIndex bad{};
        const bool good = take(data<T>(out), leading(out), data<const T>(table), leading(table), table.shape(0),
                               table.shape(1), index.data(), step(index), index.size(), &bad);
        check_index(good, bad, "take: row numbers");
    });
}

void one_hot_arrays(const Out& out, const Labels& labels, std::size_t classes) {
    check_shape(out, labels.shape(0), labels.shape(1) * classes, "out");
    with_type(out.dtype(), [&](auto zero) {
        using T = decltype(zero);
        BadIndex bad{};
        const bool good = one_hot(data<T>(out), leading(out), labels.data(), leading(labels), labels.shape(0),
                                  labels.shape(1), classes, &bad);
        check_index(good, bad, "one_hot: labels");
    });
}

void scatter_arrays(const Out& out, const In& g, const Index& index) {
    check(g.shape(0) == index.size() && g.shape(1) == out.shape(1), "shapes do not fit");
    with_type(g.dtype(), [&](auto zero) {
        using T = decltype(zero);
        BadIndex bad{};
        const bool good = scatter(data<T>(out), leading(out), out.shape(0), data<const T>(g), leading(g), g.shape(1),
                                  index.data(), step(index), index.size(), &bad);
        check_index(good, bad, "scatter: row numbers");
    });
}

}  // namespace

void bind_kernels(nb::module_& m) {
    using namespace nb::literals;
    m.def("softmax_rows", &softmax, "kind"_a, "z"_a, "out"_a, "groups"_a = 1, "isa"_a = nb::none(),
          "softmax or log_softmax of z (rows, groups·length) over each run, into out.");
    m.def("softmax_cross_entropy_rows", &softmax_cross_entropy, "z"_a, "targets"_a, "loss"_a, "a"_a = nb::none(),
          "isa"_a = nb::none(), "The cross-entropy of each row into loss (rows, 1), softmax(z) into a.");
    m.def("row_reduce", &row_reduce, "x"_a, "out"_a, "op"_a, "isa"_a = nb::none(),
          "sum, mean, max or logsumexp of each run of x into out (rows, groups).");
    m.def("column_reduce", &column_reduce, "d"_a, "out"_a, "op"_a, "isa"_a = nb::none(),
          "sum, mean or max of each column of d into out (1, columns).");
    m.def("time_rows", &time_rows, "kernel"_a, "rows"_a, "columns"_a, "groups"_a = 1, "dtype"_a = "float32",
          "isa"_a = nb::none(), "repeats"_a = 20, "Nanoseconds of a call, one figure for each repeat.");
    m.def("strided_copy", &copy_arrays, "out"_a, "x"_a, "dims"_a, "out_offset"_a = 0, "x_offset"_a = 0,
          "Copies between flat arrays; dims: (size, stride in out, stride in x).");
    m.def("contract", &contract_arrays, "out"_a, "a"_a, "b"_a, "dims"_a, "offsets"_a = std::make_tuple(0, 0, 0),
          "Sums of products of flat arrays; dims: (size, strides in out, a and b).");
    m.def("take_rows", &take_arrays, "out"_a, "table"_a, "index"_a, "Rows of the table.");
    m.def("one_hot_rows", &one_hot_arrays, "out"_a, "labels"_a, "classes"_a, "A 1 at each label's place.");
    m.def("scatter_rows", &scatter_arrays, "out"_a, "g"_a, "index"_a, "Rows of g added into zeros.");
}

}  // namespace lw
