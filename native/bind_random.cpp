// Random words and orders for tests and benchmarks; the engine calls the functions of permutation.h itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <optional>
#include <string>

#include "permutation.h"
#include "philox.h"
#include "uniform.h"

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

template <class T>
using Rows = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <class T>
void uniform_rows(std::uint64_t seed, std::uint64_t step, std::size_t stream, int bits, std::uint64_t first, Rows<T> out,
                  const std::optional<std::string>& isa) {
    if (stream > most_uniform_stream) throw nb::value_error("stream must be below 2**16.");
    if (bits != 16 && bits != 24) throw nb::value_error("bits must be 16 or 24.");
    const UniformKernels<T>& kernels = uniform_kernels<T>(isa_or_best(isa));
    nb::gil_scoped_release released;
    kernels.fill({seed, step, static_cast<std::uint32_t>(stream), bits}, first, out.shape(0), out.shape(1), out.data(),
                 out.shape(1), nullptr);
}

template <class T>
void bind_uniform(nb::module_& m) {
    using namespace nb::literals;
    m.def("uniform_rows", &uniform_rows<T>, "seed"_a, "step"_a, "stream"_a, "bits"_a, "first"_a, "out"_a.noconvert(),
          "isa"_a = nb::none(), "Rows first, first + 1, … of layerwise.randomness.uniform_matrix into out (rows, columns).");
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
    bind_uniform<float>(m);
    bind_uniform<double>(m);
}

}  // namespace lw
