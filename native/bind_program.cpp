// The class Program of layerwise._native, once for each precision.
#include "bind_program.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>

#include "pool.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Readable = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Writable = nb::ndarray<nb::c_contig, nb::device::cpu>;

constexpr std::size_t most_cut = std::size_t{1} << 40;

// An empty array may have no address.
alignas(64) char nowhere[64];

struct Region {
    char* data = nowhere;
    std::size_t bytes = 0;

    std::uintptr_t begin() const { return reinterpret_cast<std::uintptr_t>(data); }
    bool meets(const Region& other) const {
        return bytes > 0 && other.bytes > 0 && begin() < other.begin() + other.bytes && other.begin() < begin() + bytes;
    }
};

template <class Array>
bool get(nb::handle object, Array& array, Region& region) {
    if (!nb::try_cast(object, array, false)) return false;
    if (array.size() > 0) region = {const_cast<char*>(static_cast<const char*>(array.data())), array.nbytes()};
    return true;
}

template <class T>
Region bound_array(nb::handle object, const BoundArray& wanted, std::size_t i) {
    if (!wanted.used) return {};
    const nb::dlpack::dtype type = wanted.integer ? nb::dtype<std::int64_t>() : nb::dtype<T>();
    const std::size_t element = wanted.integer ? sizeof(std::int64_t) : sizeof(T);
    Region found;
    Writable writable;
    Readable readable;
    const bool fits = wanted.written ? get(object, writable, found) && writable.dtype() == type
                                     : get(object, readable, found) && readable.dtype() == type;
    if (!fits || found.bytes < wanted.elements * element || found.begin() % element != 0) {
        refuse("bound[", i, "] must be a ", wanted.written ? "writable " : "", "C-contiguous array of at least ",
               wanted.elements, " elements of ", wanted.integer ? "int64" : sizeof(T) == 4 ? "float32" : "float64");
    }
    found.bytes = wanted.elements * element;
    return found;
}

Region state_array(nb::handle object, std::size_t bytes) {
    if (object.is_none() && bytes == 0) return {};
    Region found;
    Writable array;
    if (!get(object, array, found) || found.bytes < bytes || found.begin() % 8 != 0) {
        refuse("state must be a writable C-contiguous array of at least ", bytes, " bytes, at a multiple of 8");
    }
    found.bytes = bytes;
    return found;
}

// One that is written must be no other one's memory: tiles run in any order.
void check_apart(const std::vector<BoundArray>& wanted, const std::vector<Region>& bound, const Region& state) {
    for (std::size_t i = 0; i < bound.size(); ++i) {
        for (std::size_t j = i + 1; j < bound.size(); ++j) {
            if ((wanted[i].written || wanted[j].written) && bound[i].meets(bound[j])) {
                refuse("bound[", i, "] and bound[", j, "] share memory, and one of them is written");
            }
        }
        if (bound[i].meets(state)) refuse("bound[", i, "] shares memory with the state");
    }
}

template <class T>
void run(Program<T>& program, nb::handle bound, nb::handle state, const std::optional<Numbers>& scalars, int threads,
         nb::handle source_arrays, const std::optional<Words>& rows) try {
    const typename Program<T>::Turn turn(program);
    const Arrays arrays = checked_arrays(program, bound, state);
    const std::size_t numbers = scalars ? scalars->size() : 0, gathered = program.gathered_rows();
    if (numbers != program.scalars()) refuse("scalars must hold ", program.scalars(), " numbers; got ", numbers);
    const Sources sources(program.sources(), source_arrays, rows ? 0 : gathered);
    if (rows && rows->size() != gathered) refuse("rows must hold ", gathered, " row numbers; got ", rows->size());
    for (std::size_t r = 0; rows && r < gathered; ++r) {
        const std::int64_t row = rows->data()[r];
        if (static_cast<std::uint64_t>(row) >= sources.rows()) throw BadIndexError("gather", {r, row, sources.rows()});
    }
    program.bind(arrays.bound.data(), arrays.state, threads > 0 ? threads : usable_processors());
    const GatherContext context{sources.sources().data(), rows ? rows->data() : nullptr, 0};
    const WithoutInterpreter released;
    program.run(scalars ? scalars->data() : nullptr, &context);
} catch (const BadIndexError& error) {
    raise_bad_index(error);
}

template <class T>
void bind(nb::module_& m, const char* name) {
    nb::class_<Program<T>>(m, name)
        .def(
            "__init__",
            [](Program<T>* self, const Words& words, const Numbers& numbers, const std::optional<std::string>& isa) {
                new (self) Program<T>({words.data(), words.size()}, {numbers.data(), numbers.size()}, isa_or_best(isa));
            },
            nb::arg("words"), nb::arg("numbers"), nb::arg("isa") = nb::none())
        .def("run", run<T>, nb::arg("bound"), nb::arg("state") = nb::none(), nb::arg("scalars") = nb::none(),
             nb::arg("threads") = 0, nb::arg("sources") = nb::none(), nb::arg("rows") = nb::none(),
             "Runs once. IndexError(kernel, position, value, limit) for a row number that does not exist; RuntimeError "
             "where another run is under way.")
        .def(
            "cut",
            [](Program<T>& self, std::size_t rows, std::size_t columns) {
                const typename Program<T>::Turn turn(self);
                self.cut(std::min(rows, most_cut), std::min(columns, most_cut));
            },
            nb::arg("rows"), nb::arg("columns"),
             "For tests: tiles of so many rows and columns, on all threads; 0 chooses.")
        .def_prop_ro("state_bytes", &Program<T>::state_bytes)
        .def_prop_ro("arena_bytes", &Program<T>::arena_bytes)
        .def_prop_ro("nanoseconds", &Program<T>::nanoseconds, "Of a run on one thread, roughly.");
}

}  // namespace

template <class T>
Arrays checked_arrays(const Program<T>& program, nb::handle bound, nb::handle state) {
    const std::vector<BoundArray>& wanted = program.bound();
    Arrays arrays{nb::tuple(bound), {}, nullptr};
    const std::size_t n = arrays.kept.size();
    if (n != wanted.size()) refuse("bound must hold ", wanted.size(), " arrays; got ", n);
    std::vector<Region> regions;
    for (std::size_t i = 0; i < n; ++i) {
        regions.push_back(bound_array<T>(arrays.kept[i], wanted[i], i));
        arrays.bound.push_back(regions.back().data);
    }
    const Region memory = state_array(state, program.state_bytes());
    arrays.state = memory.data;
    check_apart(wanted, regions, memory);
    return arrays;
}

template Arrays checked_arrays(const Program<float>&, nb::handle, nb::handle);
template Arrays checked_arrays(const Program<double>&, nb::handle, nb::handle);

Sources::Sources(const std::vector<SourceUse>& uses, nb::handle arrays, std::size_t rows)
    : rows_(std::numeric_limits<std::size_t>::max()) {
    const std::size_t given = arrays.is_none() ? 0 : nb::len(arrays);
    if (given != uses.size()) refuse("sources must hold ", uses.size(), " arrays; got ", given);
    for (std::size_t i = 0; i < given; ++i) {
        buffers_.emplace_back(arrays[i]);
        const Source& source = buffers_.back().source();
        sources_.push_back(source);
        if (!uses[i].used) continue;
        if (source.columns != uses[i].columns || (uses[i].integer && !is_integer(source.element))) {
            refuse("sources[", i, "] must have ", uses[i].columns, uses[i].integer ? " integer" : "", " columns; got ",
                   source.columns);
        }
        if (buffers_.back().rows() < rows) {
            refuse("sources[", i, "] must have ", rows, " rows; got ", buffers_.back().rows());
        }
        rows_ = std::min(rows_, buffers_.back().rows());
    }
}

void raise_bad_index(const BadIndexError& error) {
    const nb::tuple args = nb::make_tuple(error.kernel, error.bad.position, error.bad.value, error.bad.limit);
    PyErr_SetObject(PyExc_IndexError, args.ptr());
    nb::raise_python_error();
}

void bind_program(nb::module_& m) {
    bind<float>(m, "Program32");
    bind<double>(m, "Program64");
    m.def(
        "program_kernels",
        [] {
            nb::list names;
            for (const char* name : program_kernel_names()) names.append(name);
            return names;
        },
        "Names of the kernels of a program, in the order of their numbers.");
}

}  // namespace lw
