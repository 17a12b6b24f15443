// The module layerwise._native. Bindings only convert; what they call knows no Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "isa.h"

namespace nb = nanobind;

namespace lw {

void bind_math(nb::module_& m);
void bind_product(nb::module_& m);
void bind_pool(nb::module_& m);
void bind_forward(nb::module_& m);
void bind_map(nb::module_& m);
void bind_kernels(nb::module_& m);
void bind_random(nb::module_& m);
void bind_gather(nb::module_& m);
void bind_finite(nb::module_& m);
void bind_program(nb::module_& m);
void bind_train(nb::module_& m);

}  // namespace lw

NB_MODULE(_native, m) {
    using namespace lw;
    // What a daemon thread or a module's cache still holds when Python ends is no leak.
    nb::set_leak_warnings(false);
    m.def(
        "isas",
        [] {
            nb::list names;
            for (int i = 0; i < isa_count; ++i) {
                if (isa_available(static_cast<Isa>(i))) names.append(isa_name(static_cast<Isa>(i)));
            }
            return names;
        },
        "Names of the instruction sets that can run here, the narrowest first.");
    m.def("best_isa", [] { return isa_name(best_isa()); },
          "The one that is used unless another is asked for: LAYERWISE_ISA, or else the widest.");
    bind_math(m);
    bind_product(m);
    bind_pool(m);
    bind_forward(m);
    bind_map(m);
    bind_kernels(m);
    bind_random(m);
    bind_gather(m);
    bind_finite(m);
    bind_program(m);
    bind_train(m);
}
