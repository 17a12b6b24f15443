// Python's way to single functions, for tests and measurements.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "math_table.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Array = nb::ndarray<nb::ro, nb::device::cpu>;

int unary_index(const std::string& name) {
    for (int i = 0; i < unary_count; ++i) {
        if (name == unary_facts[i].name) return i;
    }
    throw nb::value_error(("expected the name of a function, one of functions(); got '" + name + "'").c_str());
}

void check_contiguous(const Array& array) {
    std::int64_t step = 1;
    for (std::size_t i = array.ndim(); i-- > 0;) {
        if (array.shape(i) > 1 && array.stride(i) != step && array.size() > 0) {
            throw nb::value_error("expected a C-contiguous array; np.ascontiguousarray makes one");
        }
        step *= static_cast<std::int64_t>(array.shape(i));
    }
}

template <class T>
nb::object apply_as(ArrayFunction<T> f, const Array& array, const std::vector<double>& options) {
    const std::vector<T> as_given(options.begin(), options.end());
    const std::size_t n = array.size();
    T* out = new T[n];
    nb::capsule owner(out, [](void* p) noexcept { delete[] static_cast<T*>(p); });
    {
        nb::gil_scoped_release release;
        f(static_cast<const T*>(array.data()), out, n, as_given.data());
    }
    std::vector<std::size_t> shape(array.ndim());
    for (std::size_t i = 0; i < shape.size(); ++i) shape[i] = array.shape(i);
    return nb::cast(nb::ndarray<nb::numpy, T>(out, shape.size(), shape.data(), owner));
}

nb::object apply(const std::string& name, const Array& array, const std::vector<double>& options,
                 const std::optional<std::string>& isa) {
    const int i = unary_index(name);
    const MathTable& table = math_table(isa_or_best(isa));
    if (options.size() != static_cast<std::size_t>(unary_facts[i].options)) {
        throw nb::value_error(("expected " + std::to_string(unary_facts[i].options) + " options for " + name +
                               "; got " + std::to_string(options.size()))
                                  .c_str());
    }
    check_contiguous(array);
    if (array.dtype() == nb::dtype<float>()) return apply_as<float>(table.float32[i], array, options);
    if (array.dtype() == nb::dtype<double>()) return apply_as<double>(table.float64[i], array, options);
    throw nb::value_error("expected an array of float32 or float64");
}

}  // namespace

void bind_math(nb::module_& m) {
    m.def(
        "functions",
        [] {
            nb::list names;
            for (const UnaryFacts& facts : unary_facts) names.append(facts.name);
            return names;
        },
        "Names of the elementwise functions of one number.");
    m.def("apply", &apply, nb::arg("name"), nb::arg("array"), nb::arg("options") = nb::tuple(),
          nb::arg("isa") = nb::none(),
          "The function on each element of a contiguous float32 or float64 array; ValueError for anything else.");
}

}  // namespace lw
