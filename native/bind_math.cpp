#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace lw {

void bind_math(nb::module_&) {}

}  // namespace lw
