// The class Forward of layerwise._native, once for each precision.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "forward.h"
#include "pool.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {
namespace {

Isa isa_named(const std::optional<std::string>& name) {
    if (!name) return best_isa();
    for (int i = 0; i < isa_count; ++i) {
        const Isa isa = static_cast<Isa>(i);
        if (*name == isa_name(isa) && isa_available(isa)) return isa;
    }
    throw nb::value_error(("the instruction set " + *name + " is not available here").c_str());
}

template <class T>
void bind(nb::module_& m, const char* name) {
    using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    using Row = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
    using Output = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    nb::class_<Forward<T>>(m, name)
        .def("__init__",
             [](Forward<T>* self, std::optional<std::string> isa) { new (self) Forward<T>(isa_named(isa)); },
             nb::arg("isa") = nb::none())
        .def(
            "add",
            [](Forward<T>& self, Matrix W, std::optional<Row> b, const std::string& function,
               const std::vector<double>& options) {
                if (b && b->shape(0) != W.shape(1)) throw nb::value_error("the bias has another width than W");
                const std::vector<T> values(options.begin(), options.end());
                try {
                    self.add(W.data(), b ? b->data() : nullptr, W.shape(0), W.shape(1), function, values.data(),
                             static_cast<int>(values.size()));
                } catch (const std::invalid_argument& error) {
                    throw nb::value_error(error.what());
                }
            },
            nb::arg("W"), nb::arg("b").none(), nb::arg("function"), nb::arg("options"))
        .def(
            "run",
            [](const Forward<T>& self, Matrix X, Output out, int threads) {
                if (X.shape(1) != self.inputs() || out.shape(1) != self.outputs() || X.shape(0) != out.shape(0)) {
                    throw nb::value_error("X and out do not have the shapes of this network");
                }
                const int available = threads > 0 ? threads : usable_processors();
                WithoutInterpreter released;
                self.run(X.data(), X.shape(0), out.data(), available);
            },
            nb::arg("X"), nb::arg("out").noconvert(), nb::arg("threads") = 0);
}

}  // namespace

void bind_forward(nb::module_& m) {
    bind<float>(m, "Forward32");
    bind<double>(m, "Forward64");
}

}  // namespace lw
