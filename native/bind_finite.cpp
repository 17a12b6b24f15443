// all_finite for arrays of NumPy.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "finite.h"
#include "pool.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Dense = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;

bool bound_all_finite(const Dense& array, bool single) {
    const nb::dlpack::dtype type = array.dtype();
    const bool real = type.code == static_cast<std::uint8_t>(nb::dlpack::dtype_code::Float) && type.lanes == 1;
    if (!real || (type.bits != 16 && type.bits != 32 && type.bits != 64)) {
        throw nb::type_error("all_finite takes float16, float32 and float64");
    }
    const Precision precision = single ? Precision::single : Precision::wide;
    const int threads = usable_processors();
    const WithoutInterpreter released;
    return all_finite(array.data(), type.bits / 8, array.size(), precision, threads);
}

}  // namespace

void bind_finite(nb::module_& m) {
    using namespace nb::literals;
    m.def("all_finite", &bound_all_finite, "array"_a.noconvert(), "single"_a,
          "Whether all numbers of a C-contiguous array of float16, float32 or float64 are finite; where `single`, in "
          "float32. TypeError for any other array.");
}

}  // namespace lw
