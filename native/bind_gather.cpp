// Gathering for tests and benchmarks; the engine calls the functions of gather.h itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "bind_source.h"

namespace nb = nanobind;

namespace lw {

std::optional<Element> element_of_kind(char kind, std::size_t bytes) {
    const auto sized = [bytes](std::optional<Element> one, Element two, Element four,
                               Element eight) -> std::optional<Element> {
        switch (bytes) {
            case 1: return one;
            case 2: return two;
            case 4: return four;
            case 8: return eight;
        }
        return std::nullopt;
    };
    switch (kind) {
        case 'b': return bytes == 1 ? std::optional(Element::boolean) : std::nullopt;
        case 'i': return sized(Element::int8, Element::int16, Element::int32, Element::int64);
        case 'u': return sized(Element::uint8, Element::uint16, Element::uint32, Element::uint64);
        case 'f': return sized(std::nullopt, Element::float16, Element::float32, Element::float64);
    }
    return std::nullopt;
}

namespace {

// Of a letter of the struct module.
char kind_of(char code) {
    switch (code) {
        case '?': return 'b';
        case 'b': case 'h': case 'i': case 'l': case 'q': case 'n': return 'i';
        case 'B': case 'H': case 'I': case 'L': case 'Q': case 'N': return 'u';
        case 'e': case 'f': case 'd': return 'f';
    }
    return '\0';
}

std::optional<Element> element_of(const Py_buffer& view) {
    const char* format = view.format ? view.format : "B";
    constexpr bool little = std::endian::native == std::endian::little;
    switch (*format) {
        case '<':
            if (!little) return std::nullopt;
            ++format;
            break;
        case '>': case '!':
            if (little) return std::nullopt;
            ++format;
            break;
        case '@': case '=': case '^':
            ++format;
            break;
    }
    if (format[0] == '\0' || format[1] != '\0') return std::nullopt;
    return element_of_kind(kind_of(format[0]), static_cast<std::size_t>(view.itemsize));
}

}  // namespace

SourceBuffer::SourceBuffer(nb::handle array) {
    if (PyObject_GetBuffer(array.ptr(), &view_, PyBUF_STRIDES | PyBUF_FORMAT) != 0) throw nb::python_error();
    const std::optional<Element> element = element_of(view_);
    const int ndim = view_.ndim;
    if (!element || ndim < 1 || ndim > 2) {
        const std::string format = view_.format ? view_.format : "B";
        PyBuffer_Release(&view_);
        const std::string message = "source must be a vector or a matrix of booleans, integers or floating-point numbers "
            "of at most 64 bits in the byte order of the machine; got " + std::to_string(ndim) + " axes of format " +
            format + ".";
        throw nb::type_error(message.c_str());
    }
    rows_ = static_cast<std::size_t>(view_.shape[0]);
    const bool matrix = ndim == 2;
    source_ = {view_.buf, *element, view_.strides[0], matrix ? view_.strides[1] : 0,
               matrix ? static_cast<std::size_t>(view_.shape[1]) : 1};
}

SourceBuffer::~SourceBuffer() { PyBuffer_Release(&view_); }

namespace {

using Rows = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Output = nb::ndarray<nb::device::cpu>;

template <class T>
void gather_into(const Source& source, const std::variant<std::int64_t, Rows>& rows, std::size_t n, Output& out,
                 Isa isa) {
    const std::size_t ldo = n > 1 ? static_cast<std::size_t>(out.stride(0)) : source.columns;
    T* const to = static_cast<T*>(out.data());
    const Gather<T>& kernels = gather<T>(isa);
    const Rows* const list = std::get_if<Rows>(&rows);
    const std::int64_t* const index = list ? list->data() : nullptr;
    const std::int64_t first = list ? 0 : std::get<std::int64_t>(rows);
    nb::gil_scoped_release released;
    if (list) {
        kernels.rows(source, index, n, to, ldo);
    } else {
        kernels.range(source, first, n, to, ldo);
    }
}

void gather_rows(nb::handle array, const std::variant<std::int64_t, Rows>& rows, Output out,
                 const std::optional<std::string>& isa) {
    const SourceBuffer buffer(array);
    const Source& source = buffer.source();
    const std::size_t n = out.ndim() ? out.shape(0) : 0;
    if (out.ndim() < 1 || out.ndim() > 2 || (out.ndim() == 2 ? out.shape(1) : 1) != source.columns) {
        throw nb::value_error("out must have the columns of source.");
    }
    const std::int64_t columns = static_cast<std::int64_t>(source.columns);
    if ((out.ndim() == 2 && n > 0 && columns > 1 && out.stride(1) != 1) || (n > 1 && out.stride(0) < columns)) {
        throw nb::value_error("out must have its columns side by side, and rows that do not overlap.");
    }
    const std::int64_t end = static_cast<std::int64_t>(buffer.rows());
    if (const Rows* list = std::get_if<Rows>(&rows)) {
        if (list->shape(0) != n) throw nb::value_error("out must have as many rows as are asked for.");
        for (std::size_t i = 0; i < n; ++i) {
            if (list->data()[i] < 0 || list->data()[i] >= end) throw nb::index_error("a row that source does not have.");
        }
    } else {
        const std::int64_t first = std::get<std::int64_t>(rows);
        if (first < 0 || first > end || static_cast<std::int64_t>(n) > end - first) {
            throw nb::index_error("a row that source does not have.");
        }
    }
    if (out.dtype() == nb::dtype<float>()) return gather_into<float>(source, rows, n, out, isa_or_best(isa));
    if (out.dtype() == nb::dtype<double>()) return gather_into<double>(source, rows, n, out, isa_or_best(isa));
    if (out.dtype() != nb::dtype<std::int64_t>()) throw nb::type_error("out must be float32, float64 or int64.");
    if (!is_integer(source.element)) throw nb::type_error("int64 is made of integers only.");
    gather_into<std::int64_t>(source, rows, n, out, isa_or_best(isa));
}

}  // namespace

void bind_gather(nb::module_& m) {
    using namespace nb::literals;
    m.def("gather", &gather_rows, "source"_a, "rows"_a, "out"_a.noconvert(), "isa"_a = nb::none(),
          "out[i] = source[rows[i]] for int64 rows, or source[rows + i] for a number; out float32, float64 or int64.");
}

}  // namespace lw
