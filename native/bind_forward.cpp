// The class Forward of layerwise._native, once for each precision.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bind_source.h"
#include "forward.h"
#include "pool.h"
#include "threads.h"

namespace nb = nanobind;

namespace lw {
namespace {

// Of the array interface protocol, version 3: what NumPy's __array_struct__ holds. It says all there is to know of an
// array for about 50 ns; nb::ndarray asks in several ways, some of them in Python, and needs 150.
struct ArrayStruct {
    int two;  // 2: this is such a struct
    int dimensions;
    char kind;
    int item_bytes;
    int flags;
    std::intptr_t* shape;
    std::intptr_t* strides;
    void* data;
    PyObject* descr;
};
enum : int { c_contiguous = 0x1, aligned = 0x100, native_order = 0x200 };

// What is needed of NumPy, looked up once and kept for as long as the process lives.
struct NumPy {
    PyObject *ndarray, *empty, *array_struct, *float32, *float64, *int64;

    NumPy() {
        const nb::module_ numpy = nb::module_::import_("numpy");
        const auto attribute = [&](const char* name) { return nb::object(numpy.attr(name)).release().ptr(); };
        const auto dtype = [&](const char* name) { return numpy.attr("dtype")(name).release().ptr(); };
        ndarray = attribute("ndarray");
        empty = attribute("empty");
        array_struct = PyUnicode_InternFromString("__array_struct__");
        float32 = dtype("float32");
        float64 = dtype("float64");
        int64 = dtype("int64");
    }
};

const NumPy& numpy() {
    static const NumPy* const found = new NumPy;
    return *found;
}

// Null, without an error, where the object does not say.
const ArrayStruct* array_struct(PyObject* array, nb::object& owner) {
    owner = nb::steal(PyObject_GetAttr(array, numpy().array_struct));
    const void* const found = owner.is_valid() ? PyCapsule_GetPointer(owner.ptr(), nullptr) : nullptr;
    if (found == nullptr) PyErr_Clear();
    const ArrayStruct* const s = static_cast<const ArrayStruct*>(found);
    return s != nullptr && s->two == 2 ? s : nullptr;
}

// The rows of X where it is a plain array that can be read as it lies in memory: not a subclass, which may mean
// something else by its values (masked arrays do), two dimensions, C order.
template <class T>
std::optional<typename Forward<T>::Rows> plain_rows(const Forward<T>& forward, PyObject* X) {
    if (Py_TYPE(X) != reinterpret_cast<PyTypeObject*>(numpy().ndarray)) return std::nullopt;
    nb::object owner;
    const ArrayStruct* const s = array_struct(X, owner);
    constexpr int wanted = c_contiguous | aligned | native_order;
    if (s == nullptr || s->dimensions != 2 || (s->flags & wanted) != wanted) return std::nullopt;
    if (static_cast<std::size_t>(s->shape[1]) != forward.inputs()) return std::nullopt;
    const std::optional<Element> element = element_of_kind(s->kind, static_cast<std::size_t>(s->item_bytes));
    if (!element) return std::nullopt;
    return typename Forward<T>::Rows{s->data, *element, static_cast<std::size_t>(s->shape[0])};
}

// A new array from numpy.empty, and where its elements are.
template <class Element>
std::pair<nb::object, Element*> new_array(PyObject* dtype, std::size_t rows, std::optional<std::size_t> columns) {
    const nb::object shape = columns ? nb::object(nb::make_tuple(rows, *columns)) : nb::object(nb::int_(rows));
    PyObject* const arguments[] = {nullptr, shape.ptr(), dtype};
    const nb::object array =
        nb::steal(PyObject_Vectorcall(numpy().empty, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr));
    if (!array.is_valid()) nb::raise_python_error();
    nb::object owner;
    const ArrayStruct* const s = array_struct(array.ptr(), owner);
    if (s == nullptr) throw nb::type_error("numpy.empty gave no array");
    return {array, static_cast<Element*>(s->data)};
}

// A new array filled by run(rows, elements, threads), or None: X is no plain array of rows for this network, or run
// found a number in it that is not finite. What is wrong, if anything is, the caller finds out without hurry.
template <class Element, class T, class F>
nb::object filled(const Forward<T>& forward, PyObject* X, int threads, PyObject* dtype,
                  std::optional<std::size_t> columns, F run) {
    const auto rows = plain_rows(forward, X);
    if (!rows) return nb::none();
    const int available = threads > 0 ? threads : usable_processors();
    const auto [array, elements] = new_array<Element>(dtype, rows->n, columns);
    // The interpreter lock is kept in a call that is too short for a second thread, about 10 µs. To release it takes
    // 30 ns, but whoever waits for it then keeps it for 5 ms: with a thread of pure Python beside it, a thread that
    // predicts single rows (64-64-10) made 9,400 calls per second where each released the lock, and 504,000 now.
    bool good;
    if (threads_for(forward.work() * static_cast<double>(rows->n), 2) < 2) {
        good = run(*rows, elements, available);
    } else {
        const WithoutInterpreter released;
        good = run(*rows, elements, available);
    }
    return good ? array : nb::none();
}

template <class T>
void bind(nb::module_& m, const char* name) {
    using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    using Row = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
    using Output = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
    PyObject* const dtype = sizeof(T) == 4 ? numpy().float32 : numpy().float64;
    nb::class_<Forward<T>>(m, name)
        .def("__init__",
             [](Forward<T>* self, std::optional<std::string> isa) { new (self) Forward<T>(isa_or_best(isa)); },
             nb::arg("isa") = nb::none())
        .def(
            "add",
            [](Forward<T>& self, Matrix W, std::optional<Row> b, const std::string& function,
               const std::vector<double>& options) {
                if (b && b->shape(0) != W.shape(1)) throw nb::value_error("the bias has another width than W");
                const std::vector<T> values(options.begin(), options.end());
                try {
                    self.add(W.data(), b ? b->data() : nullptr, W.shape(0), W.shape(1), function, values.data(),
                             static_cast<int>(values.size()));
                } catch (const std::invalid_argument& error) {
                    throw nb::value_error(error.what());
                }
            },
            nb::arg("W"), nb::arg("b").none(), nb::arg("function"), nb::arg("options"))
        .def_prop_ro("outputs", &Forward<T>::outputs)
        .def(
            "run",
            [](const Forward<T>& self, Matrix X, Output out, int threads) {
                if (X.shape(1) != self.inputs() || out.shape(1) != self.outputs() || X.shape(0) != out.shape(0)) {
                    throw nb::value_error("X and out do not have the shapes of this network");
                }
                const int available = threads > 0 ? threads : usable_processors();
                WithoutInterpreter released;
                self.run(X.data(), X.shape(0), out.data(), available);
            },
            nb::arg("X"), nb::arg("out").noconvert(), nb::arg("threads") = 0)
        .def(
            "checked",
            [dtype](const Forward<T>& self, nb::handle X, int threads) {
                return filled<T>(self, X.ptr(), threads, dtype, self.outputs(), [&](const auto& rows, T* out, int t) {
                    return self.checked(rows, out, t);
                });
            },
            nb::arg("X").none(), nb::arg("threads") = 0)
        .def(
            "classes",
            [](const Forward<T>& self, nb::handle X, int threads) {
                return filled<std::int64_t>(
                    self, X.ptr(), threads, numpy().int64, std::nullopt,
                    [&](const auto& rows, std::int64_t* labels, int t) { return self.classes(rows, labels, t); });
            },
            nb::arg("X").none(), nb::arg("threads") = 0);
}

}  // namespace

void bind_forward(nb::module_& m) {
    bind<float>(m, "Forward32");
    bind<double>(m, "Forward64");
}

}  // namespace lw
