// Random words and orders for tests and benchmarks; the engine calls the functions of permutation.h itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <string>

#include "permutation.h"
#include "philox.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Words = nb::ndarray<std::uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Order = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void permute(std::uint64_t seed, std::uint64_t stream, std::uint64_t index, Order out, Words workspace) {
    const std::size_t n = out.shape(0);
    if (n > max_permutation) {
        throw nb::value_error(("out must have at most " + std::to_string(max_permutation) + " elements; got " +
                               std::to_string(n) + ".").c_str());
    }
    const std::size_t needed = permutation_workspace(n);
    if (workspace.shape(0) < needed) {
        throw nb::value_error(("workspace must have at least " + std::to_string(needed) + " elements; got " +
                               std::to_string(workspace.shape(0)) + ".").c_str());
    }
    nb::gil_scoped_release released;
    permutation({seed, stream, index}, n, out.data(), workspace.data());
}

}  // namespace

void bind_random(nb::module_& m) {
    using namespace nb::literals;
    m.def(
        "random_words",
        [](std::uint64_t seed, std::uint64_t stream, std::uint64_t index, std::uint64_t first, Words out) {
            nb::gil_scoped_release released;
            random_words({seed, stream, index}, first, out.shape(0), out.data());
        },
        "seed"_a, "stream"_a, "index"_a, "first"_a, "out"_a.noconvert(),
        "Words first, first + 1, … of an address (layerwise.randomness) into out (n,) uint64.");
    m.def("permutation", &permute, "seed"_a, "stream"_a, "index"_a, "out"_a.noconvert(), "workspace"_a.noconvert(),
          "layerwise.randomness.permutation into out (n,) int64; workspace uint64, permutation_workspace(n) or more.");
    m.def("permutation_workspace", &permutation_workspace, "n"_a, "Elements of the workspace for n positions.");
}

}  // namespace lw
