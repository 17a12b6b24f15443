#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace lw {

void bind_product(nb::module_&) {}

}  // namespace lw
