// Elementwise programs for tests and measurements; the engine calls the functions of map.h itself.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "bind_matrix.h"
#include "prepared_map.h"
#include "timing.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Words = std::vector<std::int64_t>;
using Input = nb::ndarray<nb::ro, nb::ndim<2>, nb::device::cpu>;
using Output = nb::ndarray<nb::ndim<2>, nb::device::cpu>;

[[noreturn]] void refuse(const std::string& told) { throw nb::value_error(told.c_str()); }

// The words of a program in order, each within its limits.
class Reader {
public:
    explicit Reader(const Words& words) : words_(words) {}

    int next(const char* what, std::int64_t low, std::int64_t high) {
        if (at_ == words_.size()) refuse(std::string("the words end where ") + what + " should stand.");
        const std::int64_t word = words_[at_++];
        if (word < low || word > high) {
            refuse(std::string(what) + " must be " + std::to_string(low) + " to " + std::to_string(high) + "; got " +
                   std::to_string(word) + " (word " + std::to_string(at_ - 1) + ").");
        }
        return static_cast<int>(word);
    }
    void end() const {
        if (at_ != words_.size()) refuse("words are left over after the last operation.");
    }

private:
    const Words& words_;
    std::size_t at_ = 0;
};

template <class T>
struct Program {
    std::vector<MapMode> modes;
    std::vector<std::uint16_t> results;
    std::vector<MapOp> ops;
    std::vector<T> options;
    int registers;

    Program(const Words& words, const std::vector<double>& numbers) : options(numbers.begin(), numbers.end()) {
        Reader reader(words);
        const int outputs = reader.next("the number of outputs", 1, map_registers);
        const int inputs = reader.next("the number of inputs", 0, map_registers);
        registers = reader.next("the number of registers", inputs + 1, map_registers);
        const int count = reader.next("the number of operations", 1, 65535);
        for (int i = 0; i < inputs; ++i) modes.push_back(static_cast<MapMode>(reader.next("a mode", 0, 3)));
        for (int i = 0; i < outputs; ++i) {
            results.push_back(static_cast<std::uint16_t>(reader.next("an output's register", inputs, registers - 1)));
        }
        std::vector<bool> written(static_cast<std::size_t>(registers));
        for (int i = 0; i < inputs; ++i) written[static_cast<std::size_t>(i)] = true;
        for (int i = 0; i < count; ++i) {
            MapOp op{};
            op.kernel = static_cast<std::uint16_t>(reader.next("a kernel", 0, map_kernel_count() - 1));
            op.out = static_cast<std::uint16_t>(reader.next("a result", inputs, registers - 1));
            std::uint16_t* const operands[] = {&op.a, &op.b, &op.c};
            for (int j = 0; j < 3; ++j) {
                const bool used = j < map_kernel_arity(op.kernel);
                *operands[j] = static_cast<std::uint16_t>(reader.next("an operand", used ? 0 : -1, registers - 1));
                if (used && !written[*operands[j]]) refuse("a register is read before it is written.");
            }
            op.option = static_cast<std::uint16_t>(reader.next("an option's index", 0, 65535));
            if (op.option + static_cast<std::size_t>(map_kernel_options(op.kernel)) > options.size()) {
                refuse(std::string(map_kernel_name(op.kernel)) + " reads options past the last one.");
            }
            written[op.out] = true;
            ops.push_back(op);
        }
        reader.end();
        for (const std::uint16_t r : results) {
            if (!written[r]) refuse("no operation writes an output.");
        }
    }
};

template <class T>
std::size_t stride_of(const auto& x, std::size_t rows, std::size_t columns, const std::string& name) {
    if (x.dtype() != nb::dtype<T>()) refuse(name + " must have the precision of the first output.");
    if (x.shape(0) != rows || x.shape(1) != columns) {
        refuse(name + " must have shape (" + std::to_string(rows) + ", " + std::to_string(columns) + "); got (" +
               std::to_string(x.shape(0)) + ", " + std::to_string(x.shape(1)) + ").");
    }
    return leading(x, name);
}

template <class T>
double run_map(const Words& words, const std::vector<double>& options, const std::vector<Input>& inputs,
               const std::vector<Output>& outputs, Isa isa, int calls, bool prepared) {
    const Program<T> program(words, options);
    if (inputs.size() != program.modes.size()) refuse("inputs are not as many as the program has.");
    if (outputs.size() != program.results.size()) refuse("outputs are not as many as the program has.");
    const std::size_t rows = outputs[0].shape(0), columns = outputs[0].shape(1);
    std::vector<MapInput<T>> from;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        const MapMode mode = program.modes[i];
        const bool one_row = mode == MapMode::row_vector || mode == MapMode::scalar;
        const bool one_column = mode == MapMode::column_vector || mode == MapMode::scalar;
        const std::size_t stride = stride_of<T>(inputs[i], one_row ? 1 : rows, one_column ? 1 : columns,
                                                "input " + std::to_string(i));
        from.push_back({static_cast<const T*>(inputs[i].data()), stride});
    }
    std::vector<MapOutput<T>> to;
    for (std::size_t k = 0; k < outputs.size(); ++k) {
        const std::size_t stride = stride_of<T>(outputs[k], rows, columns, "output " + std::to_string(k));
        to.push_back({static_cast<T*>(outputs[k].data()), stride});
    }
    const MapCode<T> code{static_cast<int>(from.size()), static_cast<int>(to.size()), program.registers,
                          static_cast<int>(program.ops.size()), program.modes.data(), program.results.data(),
                          program.ops.data(), program.options.data()};
    const Maps<T>& kernels = maps<T>(isa);
    const PreparedMap<T> map(code, isa);
    nb::gil_scoped_release released;
    const auto run = [&] {
        if (prepared) {
            map.run(from.data(), to.data(), rows, columns);
        } else {
            kernels.run(code, from.data(), to.data(), rows, columns);
        }
    };
    return seconds_per_call(run, static_cast<std::size_t>(calls));
}

}  // namespace

void bind_map(nb::module_& m) {
    using namespace nb::literals;
    m.def(
        "map_kernels",
        [] {
            nb::list kernels;
            for (int i = 0; i < map_kernel_count(); ++i) {
                kernels.append(nb::make_tuple(map_kernel_name(i), map_kernel_arity(i), map_kernel_options(i)));
            }
            return kernels;
        },
        "The operations of elementwise programs, in the order of their numbers: name, operands, options.");
    m.def(
        "run_map",
        [](const Words& words, const std::vector<double>& options, const std::vector<Input>& inputs,
           const std::vector<Output>& outputs, const std::optional<std::string>& isa, int calls,
           bool prepared) {
            if (outputs.empty()) refuse("a program has one output at least.");
            if (calls < 1) refuse("calls must be positive.");
            if (outputs[0].dtype() == nb::dtype<float>()) {
                return run_map<float>(words, options, inputs, outputs, isa_or_best(isa), calls, prepared);
            }
            if (outputs[0].dtype() == nb::dtype<double>()) {
                return run_map<double>(words, options, inputs, outputs, isa_or_best(isa), calls, prepared);
            }
            refuse("outputs must be float32 or float64.");
        },
        "words"_a, "options"_a, "inputs"_a, "outputs"_a, "isa"_a = nb::none(), "calls"_a = 1,
        "prepared"_a = true,
        "An elementwise program on matrices, written to outputs; the seconds of one call. words: the numbers of "
        "outputs, inputs, registers and operations; the modes of the inputs; the registers of the outputs; and of each "
        "operation kernel, result, three operands, index of its first option. prepared: once, not at every call.");
}

}  // namespace lw
