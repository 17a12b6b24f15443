// Elementwise programs as instructions.
#include "program_build.h"

namespace lw::program {
namespace {

template <class T>
bool run_map(const Step<T>& s, const Tile& t, Share<T>& share) {
    MapInput<T> inputs[map_registers];
    MapOutput<T> outputs[map_registers];
    const int n_out = static_cast<int>(s.n[0]), n_in = static_cast<int>(s.n[1]);
    for (int i = 0; i < n_out; ++i) outputs[i] = {operand<T>(s, i, t, share), s.operands[i].stride};
    for (int i = 0; i < n_in; ++i) {
        inputs[i] = {operand<const T>(s, n_out + i, t, share), s.operands[n_out + i].stride};
    }
    share.kernels->maps.run_prepared(s.table, inputs, outputs, t.rows, columns_of(s, t));
    return true;
}

// Some operands are packed: block by block, the others' columns beside.
template <class T>
bool run_map_of_blocks(const Step<T>& s, const Tile& t, Share<T>& share) {
    MapInput<T> inputs[map_registers];
    MapOutput<T> outputs[map_registers];
    const int n_out = static_cast<int>(s.n[0]), n_in = static_cast<int>(s.n[1]);
    each_block(share.kernels->products, columns_of(s, t), [&](std::size_t c, std::size_t columns, std::size_t lanes) {
        const auto stride = [&](int i) { return s.operands[i].packed ? lanes : s.operands[i].stride; };
        const auto data = [&](int i, bool by_columns) {
            if (s.operands[i].packed) return block_of<T>(s, i, t, share, c, lanes);
            return operand<T>(s, i, t, share) + (by_columns ? c : 0);
        };
        for (int i = 0; i < n_out; ++i) outputs[i] = {data(i, true), stride(i)};
        for (int i = 0; i < n_in; ++i) inputs[i] = {data(n_out + i, s.n[2] >> i & 1), stride(n_out + i)};
        share.kernels->maps.run_prepared(s.table, inputs, outputs, t.rows, columns);
    });
    return true;
}

// Nanoseconds for each element: the exponential and its kin, or anything else.
template <class T>
double op_time(int kernel) {
    const std::string name = map_kernel_name(kernel);
    for (const char* slow : {"exp", "expm1", "log", "log1p", "sin", "cos", "tanh", "erf", "erfc", "normal_cdf", "sigmoid",
                             "log_sigmoid", "softplus", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish",
                             "log_of_cosh", "power"}) {
        if (name == slow) return sizeof(T) / 8.0;
    }
    return sizeof(T) / 64.0;
}

// The ints of a map, in their order.
template <class T>
class Code {
public:
    explicit Code(Builder<T>& b) : b_(b), ints_(b.instruction.ints) {}

    std::size_t next(const char* what, std::size_t least, std::size_t limit) {
        b_.want(at_ < ints_.size(), "its ints end before ", what);
        return b_.number(at_++, what, least, limit);
    }
    std::size_t left() const { return ints_.size() - at_; }

private:
    Builder<T>& b_;
    std::span<const std::int64_t> ints_;
    std::size_t at_ = 0;
};

// One operation; registers below `inputs` hold them, and others what an earlier operation wrote.
template <class T>
MapOp read_op(Builder<T>& b, Code<T>& code, std::size_t inputs, std::size_t registers, std::uint64_t& set) {
    const auto kernel = static_cast<int>(code.next("an operation", 0, static_cast<std::size_t>(map_kernel_count()) - 1));
    const int arity = map_kernel_arity(kernel);
    MapOp op{};
    op.kernel = static_cast<std::uint16_t>(kernel);
    const std::size_t out = code.next("the register written", inputs, registers - 1);
    std::uint16_t* const read[] = {&op.a, &op.b, &op.c};
    for (int i = 0; i < 3; ++i) {
        const std::size_t limit = i < arity ? registers - 1 : most;
        const std::size_t r = code.next("a register read", 0, limit);
        if (i >= arity) continue;
        b.want((set >> r & 1) != 0, "register ", r, " is read before it is written");
        *read[i] = static_cast<std::uint16_t>(r);
    }
    const auto wanted = static_cast<std::size_t>(map_kernel_options(kernel));
    const std::size_t option = code.next("the index of an option", 0, most);
    b.want(wanted == 0 || option + wanted <= b.instruction.options, map_kernel_name(kernel), " takes options ", option,
           " to ", option + wanted, ", of ", b.instruction.options);
    if (wanted > 0) op.option = static_cast<std::uint16_t>(option);
    op.out = static_cast<std::uint16_t>(out);
    set |= std::uint64_t{1} << out;
    return op;
}

template <class T>
void read_code(Builder<T>& b, MapTable<T>& map) {
    Code<T> code(b);
    constexpr auto limit = static_cast<std::size_t>(map_registers);
    static_assert(map_registers <= 64);
    const std::size_t outputs = code.next("the number of outputs", 1, limit);
    const std::size_t inputs = code.next("the number of inputs", 0, limit - 1);
    const std::size_t registers = code.next("the number of registers", inputs + 1, limit);
    const std::size_t ops = code.next("the number of operations", 1, 0xFFFF);
    const std::size_t words = inputs + outputs + 6 * ops;
    b.want(code.left() == words, words, " ints must follow the first four; got ", code.left());
    b.want(b.instruction.operands.size() == inputs + outputs, inputs + outputs, " operands expected; got ",
           b.instruction.operands.size());
    b.want(b.instruction.options <= 0xFFFF, "too many options");
    for (std::size_t i = 0; i < inputs; ++i) map.modes.push_back(static_cast<MapMode>(code.next("a mode", 0, 3)));
    std::uint64_t results = 0;
    for (std::size_t i = 0; i < outputs; ++i) {
        const std::size_t r = code.next("the register of an output", inputs, registers - 1);
        map.results.push_back(static_cast<std::uint16_t>(r));
        results |= std::uint64_t{1} << r;
    }
    std::uint64_t set = (std::uint64_t{1} << inputs) - 1;
    for (std::size_t i = 0; i < ops; ++i) map.ops.push_back(read_op(b, code, inputs, registers, set));
    b.want((results & ~set) == 0, "the register of an output is not written");
    map.code = {static_cast<int>(inputs),  static_cast<int>(outputs), static_cast<int>(registers),
                static_cast<int>(ops),     map.modes.data(),          map.results.data(),
                map.ops.data(),            b.tables.options.data() + b.instruction.first_option};
}

}  // namespace

template <class T>
void build_map(Builder<T>& b) {
    b.tables.maps.push_back(std::make_unique<MapTable<T>>());
    MapTable<T>& map = *b.tables.maps.back();
    read_code(b, map);
    const int outputs = map.code.outputs, all = outputs + map.code.inputs;
    for (int i = 0; i < all; ++i) b.want(b.has(i) && !b.value(i).integer, b.name(i), " must be real");
    const std::size_t rows = b.job.rows, columns = b.value(0).columns;
    double bytes = 0, work = 0;
    bool some_packed = false;
    for (int i = 0; i < all; ++i) {
        const MapMode mode = i < outputs ? MapMode::full : map.modes[static_cast<std::size_t>(i - outputs)];
        const bool by_rows = mode == MapMode::full || mode == MapMode::column_vector;
        const bool by_columns = mode == MapMode::full || mode == MapMode::row_vector;
        b.want_shape(i, by_rows ? rows : 1, by_columns ? columns : 1);
        constexpr Reach reaches[] = {Reach::tile, Reach::column, Reach::row, Reach::whole};
        b.add(i, i < outputs, reaches[static_cast<int>(mode)], true);
        some_packed |= b.value(i).packed;
        if (by_columns && i >= outputs) b.step.n[2] |= std::size_t{1} << (i - outputs);
        bytes += b.elements(i) * sizeof(T);
    }
    for (const MapOp& op : map.ops) work += op_time<T>(op.kernel);
    b.step.run = some_packed ? run_map_of_blocks<T> : run_map<T>;
    b.step.columns = columns;
    map.prepared.reset(new std::byte[b.kernels.maps.prepared_size(map.code)]);
    b.kernels.maps.prepare(map.code, map.prepared.get());
    b.step.table = map.prepared.get();
    b.step.n[0] = static_cast<std::size_t>(outputs);
    b.step.n[1] = static_cast<std::size_t>(map.code.inputs);
    b.cost(b.elements(0) * work + bytes / 20);
}

LW_INSTANTIATE_BUILD(map)

}  // namespace lw::program
