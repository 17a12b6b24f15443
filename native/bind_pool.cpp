#include <nanobind/nanobind.h>

namespace nb = nanobind;

namespace lw {

void bind_pool(nb::module_&) {}

}  // namespace lw
