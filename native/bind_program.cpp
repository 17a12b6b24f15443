// The class Program of layerwise._native, once for each precision.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "bind_source.h"
#include "pool.h"
#include "program.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Numbers = nb::ndarray<const double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Readable = nb::ndarray<nb::ro, nb::c_contig, nb::device::cpu>;
using Writable = nb::ndarray<nb::c_contig, nb::device::cpu>;

Isa isa_named(const std::optional<std::string>& name) {
    if (!name) return best_isa();
    for (int i = 0; i < isa_count; ++i) {
        const Isa isa = static_cast<Isa>(i);
        if (*name == isa_name(isa) && isa_available(isa)) return isa;
    }
    throw nb::value_error(("the instruction set " + *name + " is not available here").c_str());
}

std::string text(const char* part) { return part; }
std::string text(std::size_t number) { return std::to_string(number); }

template <class... Parts>
[[noreturn]] void refuse(Parts... parts) {
    throw nb::value_error((text(parts) + ...).c_str());
}

// An empty array may have no address.
alignas(64) char nowhere[64];

struct Region {
    char* data = nowhere;
    std::size_t bytes = 0;

    bool meets(const Region& other) const {
        const auto a = reinterpret_cast<std::uintptr_t>(data), b = reinterpret_cast<std::uintptr_t>(other.data);
        return bytes > 0 && other.bytes > 0 && a < b + other.bytes && b < a + bytes;
    }
};

template <class Array>
Region region(const Array& array) {
    return {array.size() == 0 ? nowhere : const_cast<char*>(static_cast<const char*>(array.data())), array.nbytes()};
}

template <class T>
Region bound_array(nb::handle object, const BoundArray& wanted, std::size_t i) {
    if (!wanted.used) return {};
    const nb::dlpack::dtype type = wanted.integer ? nb::dtype<std::int64_t>() : nb::dtype<T>();
    const std::size_t element = wanted.integer ? sizeof(std::int64_t) : sizeof(T);
    Region found;
    bool fits = false;
    if (wanted.written) {
        Writable array;
        if (nb::try_cast(object, array, false) && array.dtype() == type) fits = true, found = region(array);
    } else {
        Readable array;
        if (nb::try_cast(object, array, false) && array.dtype() == type) fits = true, found = region(array);
    }
    if (!fits || found.bytes < wanted.elements * element || reinterpret_cast<std::uintptr_t>(found.data) % element != 0) {
        refuse("bound[", i, "] must be a ", wanted.written ? "writable " : "", "C-contiguous array of at least ",
               wanted.elements, " elements of ", wanted.integer ? "int64" : sizeof(T) == 4 ? "float32" : "float64");
    }
    found.bytes = wanted.elements * element;
    return found;
}

Region state_array(nb::handle object, std::size_t bytes) {
    if (object.is_none() && bytes == 0) return {};
    Writable array;
    Region found;
    const bool fits = nb::try_cast(object, array, false);
    if (fits) found = region(array);
    if (!fits || found.bytes < bytes || reinterpret_cast<std::uintptr_t>(found.data) % 8 != 0) {
        refuse("state must be a writable C-contiguous array of at least ", bytes, " bytes, at a multiple of 8");
    }
    found.bytes = bytes;
    return found;
}

// One that is written must be no other one's memory: tiles run in any order.
template <class T>
void check_apart(const Program<T>& program, const std::vector<Region>& bound, const Region& state) {
    for (std::size_t i = 0; i < bound.size(); ++i) {
        const bool written = program.bound()[i].written;
        for (std::size_t j = i + 1; j < bound.size(); ++j) {
            if ((written || program.bound()[j].written) && bound[i].meets(bound[j])) {
                refuse("bound[", i, "] and bound[", j, "] share memory, and one of them is written");
            }
        }
        if (bound[i].meets(state)) refuse("bound[", i, "] shares memory with the state");
    }
}

// IndexError(kernel, position, value, limit).
void raise_bad_index(const BadIndexError& error) {
    const nb::tuple args = nb::make_tuple(error.kernel, error.bad.position, error.bad.value, error.bad.limit);
    PyErr_SetObject(PyExc_IndexError, args.ptr());
    nb::raise_python_error();
}

// The sources of gather while they are used, and the rows taken from them.
class GatherArguments {
public:
    template <class T>
    GatherArguments(const Program<T>& program, nb::handle sources, const std::optional<Words>& rows) {
        const std::vector<SourceUse>& uses = program.sources();
        const std::size_t given = sources.is_none() ? 0 : nb::len(sources), n = program.gathered_rows();
        if (given != uses.size()) refuse("sources must hold ", uses.size(), " arrays; got ", given);
        if (rows && rows->size() != n) refuse("rows must hold ", n, " row numbers; got ", rows->size());
        for (std::size_t i = 0; i < given; ++i) {
            buffers_.emplace_back(sources[i]);
            const SourceBuffer& buffer = buffers_.back();
            const Source& source = buffer.source();
            sources_.push_back(source);
            if (!uses[i].used) continue;
            if (source.columns != uses[i].columns || (uses[i].integer && !is_integer(source.element))) {
                refuse("sources[", i, "] must have ", uses[i].columns, uses[i].integer ? " integer" : "", " columns; got ",
                       source.columns);
            }
            if (!rows && buffer.rows() < n) refuse("sources[", i, "] must have ", n, " rows; got ", buffer.rows());
            for (std::size_t r = 0; rows && r < n; ++r) {
                const std::int64_t row = rows->data()[r];
                if (row < 0 || static_cast<std::size_t>(row) >= buffer.rows()) {
                    throw BadIndexError("gather", {r, row, buffer.rows()});
                }
            }
        }
        context_ = {sources_.data(), rows ? rows->data() : nullptr, 0};
    }

    const GatherContext& context() const { return context_; }

private:
    std::deque<SourceBuffer> buffers_;
    std::vector<Source> sources_;
    GatherContext context_{};
};

template <class T>
void run(Program<T>& program, nb::sequence bound, nb::handle state, std::optional<Numbers> scalars, int threads,
         nb::handle sources, std::optional<Words> rows) try {
    const typename Program<T>::Turn turn(program);
    const std::size_t n = nb::len(bound);
    if (n != program.bound().size()) refuse("bound must hold ", program.bound().size(), " arrays; got ", n);
    std::vector<Region> regions(n);
    for (std::size_t i = 0; i < n; ++i) regions[i] = bound_array<T>(bound[i], program.bound()[i], i);
    const Region memory = state_array(state, program.state_bytes());
    check_apart(program, regions, memory);
    const std::size_t numbers = scalars ? scalars->size() : 0;
    if (numbers != program.scalars()) refuse("scalars must hold ", program.scalars(), " numbers; got ", numbers);
    const GatherArguments gather(program, sources, rows);
    std::vector<void*> pointers;
    for (const Region& r : regions) pointers.push_back(r.data);
    program.bind(pointers.data(), memory.data, threads > 0 ? threads : usable_processors());
    const WithoutInterpreter released;
    program.run(scalars ? scalars->data() : nullptr, &gather.context());
} catch (const BadIndexError& error) {
    raise_bad_index(error);
}

template <class T>
void bind(nb::module_& m, const char* name) {
    nb::class_<Program<T>>(m, name)
        .def(
            "__init__",
            [](Program<T>* self, const Words& words, const Numbers& numbers, const std::optional<std::string>& isa) {
                new (self) Program<T>({words.data(), words.size()}, {numbers.data(), numbers.size()}, isa_named(isa));
            },
            nb::arg("words"), nb::arg("numbers"), nb::arg("isa") = nb::none())
        .def("run", run<T>, nb::arg("bound"), nb::arg("state").none(), nb::arg("scalars") = nb::none(),
             nb::arg("threads") = 0, nb::arg("sources") = nb::none(), nb::arg("rows") = nb::none())
        .def_prop_ro("state_bytes", &Program<T>::state_bytes)
        .def_prop_ro("arena_bytes", &Program<T>::arena_bytes)
        .def_prop_ro("nanoseconds", &Program<T>::nanoseconds);
}

}  // namespace

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
