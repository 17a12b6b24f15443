// Runs elementwise programs (see map.h). Compiled once for each instruction set (see simd.h).
#include "map_steps.h"

namespace lw::LW_NAMESPACE {
namespace {

using Set = std::uint64_t;  // of registers or of outputs, one bit each
static_assert(map_registers <= 64);

constexpr Set bit(int i) { return Set(1) << i; }
LW_INLINE bool has(Set set, int i) { return (set >> i & 1) != 0; }

// The members of a set: for (int i : members(set)).
struct Members {
    Set set;
    LW_INLINE int operator*() const { return __builtin_ctzll(set); }
    LW_INLINE void operator++() { set &= set - 1; }
    LW_INLINE bool operator!=(const Members&) const { return set != 0; }
    LW_INLINE Members begin() const { return *this; }
    LW_INLINE Members end() const { return {0}; }
};
LW_INLINE Members members(Set set) { return {set}; }

// Operations -----------------------------------------------------------------------------------------------------

enum class Kind : std::uint8_t { unary, call, binary, power, ternary };

constexpr bool is_short(Unary f) {
    return f == Unary::Identity || f == Unary::Negative || f == Unary::Square || f == Unary::Sqrt ||
           f == Unary::Absolute || f == Unary::Sign || f == Unary::Clip || f == Unary::Relu || f == Unary::LeakyRelu ||
           f == Unary::Hardtanh;
}

enum class Binary {
#define LW_BINARY(name, Name) Name,
#include "kernels.def"
};
constexpr Kind kinds[] = {
#define LW_UNARY(name, Name, options) is_short(Unary::Name) ? Kind::unary : Kind::call,
#define LW_BINARY(name, Name) Binary::Name == Binary::Power ? Kind::power : Kind::binary,
#define LW_TERNARY(name, Name) Kind::ternary,
#include "kernels.def"
};
constexpr int binary_count = 0
#define LW_BINARY(name, Name) +1
#include "kernels.def"
    ;

#define LW_CALL_0(name) name##_v<T>(x)
#define LW_CALL_1(name) name##_v<T>(x, options[0])
#define LW_CALL_2(name) name##_v<T>(x, options[0], options[1])
#define LW_UNARY(name, Name, count)                                              \
    struct name##_function {                                                     \
        template <class T>                                                       \
        LW_INLINE static Vector<T> of(Vector<T> x, const T* options) {           \
            static_cast<void>(options);                                          \
            return LW_CALL_##count(name);                                        \
        }                                                                        \
    };
#define LW_BINARY(name, Name)                                    \
    struct name##_function {                                     \
        template <class T>                                       \
        LW_INLINE static Vector<T> of(Vector<T> x, Vector<T> y) { \
            return name##_v<T>(x, y);                            \
        }                                                        \
    };
#define LW_TERNARY(name, Name)                                                 \
    struct name##_function {                                                   \
        template <class T>                                                     \
        LW_INLINE static Vector<T> of(Vector<T> x, Vector<T> y, Vector<T> z) { \
            return name##_v<T>(x, y, z);                                       \
        }                                                                      \
    };
#include "kernels.def"

template <class T, class F, Unary f>
constexpr Handler<T> unary_or_call() {
    if constexpr (is_short(f)) {
        return unary_step<T, F>;
    } else {
        return call_step<T, static_cast<int>(f)>;
    }
}

template <class T>
constexpr Handler<T> unary_steps[] = {
#define LW_UNARY(name, Name, options) unary_or_call<T, name##_function, Unary::Name>(),
#include "kernels.def"
};

template <class T, class F, Binary f>
constexpr Handler<T> binary_or_power(Form form) {
    if constexpr (f == Binary::Power) {
        return nullptr;
    } else {
        switch (form) {
            case Form::with_memory:
                return binary_step<T, F, Form::with_memory>;
            case Form::with_one:
                return binary_step<T, F, Form::with_one>;
            case Form::memory_first:
                return binary_step<T, F, Form::memory_first>;
            case Form::one_first:
                return binary_step<T, F, Form::one_first>;
        }
        return nullptr;
    }
}

template <class T>
constexpr Handler<T> binary_steps[][4] = {
#define LW_BINARY(name, Name)                                                      \
    {binary_or_power<T, name##_function, Binary::Name>(Form::with_memory),         \
     binary_or_power<T, name##_function, Binary::Name>(Form::with_one),            \
     binary_or_power<T, name##_function, Binary::Name>(Form::memory_first),        \
     binary_or_power<T, name##_function, Binary::Name>(Form::one_first)},
#include "kernels.def"
};

// By which operands are one number: bit 0 the first, bit 1 the second (the choices of where).
template <class T>
constexpr Handler<T> ternary_steps[][4] = {
#define LW_TERNARY(name, Name)                                                                          \
    {ternary_step<T, name##_function, false, false>, ternary_step<T, name##_function, true, false>,     \
     ternary_step<T, name##_function, false, true>, ternary_step<T, name##_function, true, true>},
#include "kernels.def"
};
template <class T>
constexpr Handler<T> power_steps[4] = {power_step<T, false, false>, power_step<T, true, false>,
                                       power_step<T, false, true>, power_step<T, true, true>};

LW_INLINE Set operands(const MapOp& op) {
    Set set = bit(op.a);
    if (op.kernel >= unary_count) set |= bit(op.b);
    if (op.kernel >= unary_count + binary_count) set |= bit(op.c);
    return set;
}

// Operations to steps --------------------------------------------------------------------------------------------

constexpr int most_ops = 64;  // turned into steps at a time; a longer program is cut, at some cost
constexpr int nothing = -1;

template <class T>
struct Steps {
    Step<T> list[3 * most_ops + 1];
    int count = 0;
    int held = nothing;  // the register whose tile is in the vectors
    Set single = 0;      // registers that hold one number

    LW_INLINE void put(Handler<T> run, int x, int y = 0, int z = 0, int option = 0) {
        list[count++] = {run, static_cast<std::uint16_t>(x), static_cast<std::uint16_t>(y),
                         static_cast<std::uint16_t>(z), static_cast<std::uint16_t>(option)};
    }

    LW_INLINE void hold(int r) {
        if (held != r) put(has(single, r) ? load_one_step<T> : load_step<T>, r);
    }

    // The operands that an operation takes from memory when this register is held.
    static LW_INLINE Set from_memory(const MapOp& op, int register_held) {
        switch (kinds[op.kernel]) {
            case Kind::unary:
                return op.a == register_held ? 0 : bit(op.a);
            case Kind::binary:
                return op.a == register_held ? bit(op.b) : op.b == register_held ? bit(op.a) : bit(op.a) | bit(op.b);
            case Kind::ternary:
                return (op.a == register_held ? 0 : bit(op.a)) | bit(op.b) | bit(op.c);
            default:
                return operands(op);
        }
    }

    LW_INLINE void operation(const MapOp& op, bool store) {
        switch (kinds[op.kernel]) {
            case Kind::unary:
                hold(op.a);
                put(unary_steps<T>[op.kernel], 0, 0, 0, op.option);
                break;
            case Kind::call: {
                int from = op.a;
                if (has(single, from)) {
                    put(load_one_step<T>, from);
                    put(store_step<T>, op.out);
                    from = op.out;
                }
                put(unary_steps<T>[op.kernel], from, op.out, 0, op.option);
                held = nothing;
                return;
            }
            case Kind::power:
                put(power_steps<T>[has(single, op.a) + 2 * has(single, op.b)], op.a, op.b, op.out);
                held = nothing;
                return;
            case Kind::binary: {
                const Handler<T>* const forms = binary_steps<T>[op.kernel - unary_count];
                if (held == op.b && held != op.a) {
                    put(forms[has(single, op.a) ? 3 : 2], op.a);
                } else {
                    hold(op.a);
                    put(forms[has(single, op.b) ? 1 : 0], op.b);
                }
                break;
            }
            case Kind::ternary:
                hold(op.a);
                put(ternary_steps<T>[op.kernel - unary_count - binary_count]
                                    [has(single, op.b) + 2 * has(single, op.c)],
                    op.b, op.c);
                break;
        }
        held = op.out;
        if (store) put(store_step<T>, op.out);
    }

    void run(const State<T>& state) {
        const Vector<T> zero = {};
        list[0].run(list, &state, zero, zero, zero, zero, zero, zero, zero, zero);
    }
};

// Memory ---------------------------------------------------------------------------------------------------------

template <class T>
LW_INLINE void copy(T* out, const T* from, std::size_t n) {
    std::size_t i = 0;
    for (; i + width<T> <= n; i += width<T>) store<T>(out + i, load<T>(from + i));
    if (i < n) store_first<T>(out + i, load_first<T>(from + i, static_cast<int>(n - i)), static_cast<int>(n - i));
}

// Whole vectors: up to width - 1 elements more than n.
template <class T>
LW_INLINE void fill(T* out, T number, std::size_t n) {
    for (std::size_t i = 0; i < n; i += width<T>) store<T>(out + i, all<T>(number));
}

template <class T>
LW_INLINE void copy_to_tile(T* out, const T* from, std::size_t n) {
    for (std::size_t i = 0; i < tile<T>; i += width<T>) {
        Vector<T> v = {};
        if (i + width<T> <= n) {
            v = load<T>(from + i);
        } else if (i < n) {
            v = load_first<T>(from + i, static_cast<int>(n - i));
        }
        store<T>(out + i, v);
    }
}

// A run of the program: over the rows one by one, or over all elements as one row where that is possible or rows are
// short.
template <class T>
class Run {
public:
    Run(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
        std::size_t columns)
        : code_(code), inputs_(inputs), outputs_(outputs), rows_(rows), columns_(columns) {}

    LW_INLINE void run() {
        arrange();
        compute_constants();
        place_outputs();
        if (code_.ops <= most_ops) translate(0, code_.ops);
        if (one_row_) {
            begin_rows();
            row(rows_ * columns_);
            return;
        }
        for (std::size_t r = 0; r < rows_; ++r) {
            begin_row(r);
            row(columns_);
        }
    }

private:
    static constexpr std::size_t slot = tile<T> + width<T>;
    static constexpr std::size_t expanded_size = 16384 / sizeof(T);
    static constexpr std::size_t short_row = 64;

    T* slot_of(int r) { return slots_ + static_cast<std::size_t>(r) * slot; }

    void arrange() {
        Set full = 0;
        const bool one_row = rows_ == 1, one_column = columns_ == 1;
        for (int i = 0; i < code_.inputs; ++i) {
            switch (code_.modes[i]) {
                case MapMode::full:
                    full |= bit(i);
                    break;
                case MapMode::row_vector:
                    (one_row ? full : one_column ? constant_ : row_vectors_) |= bit(i);
                    break;
                case MapMode::column_vector:
                    (one_row ? constant_ : one_column ? full : column_vectors_) |= bit(i);
                    break;
                case MapMode::scalar:
                    constant_ |= bit(i);
                    break;
            }
            state_.at[i] = const_cast<T*>(inputs_[i].data);  // not written: no op has an input for its result
        }
        full_ = full;
        if (!one_row) {
            for (int i : members(full)) apart_ |= inputs_[i].stride == columns_ ? 0 : bit(i);
            for (int k = 0; k < code_.outputs; ++k) outputs_apart_ |= outputs_[k].stride == columns_ ? 0 : bit(k);
        }
        if ((apart_ | outputs_apart_) != 0) {
            one_row_ = columns_ < short_row;
        } else if ((row_vectors_ | column_vectors_) != 0) {
            const auto vectors = static_cast<std::size_t>(__builtin_popcountll(row_vectors_));
            one_row_ = columns_ % tile<T> != 0 && vectors * (columns_ + tile<T>) <= expanded_size;
        }
        state_.options = code_.options;
        state_.count = width<T>;
        for (int i = code_.inputs; i < code_.registers; ++i) state_.at[i] = slot_of(i);
    }

    // Operations on constants are run once, where no other one has the same result register.
    void compute_constants() {
        Set written = 0, again = 0, out_of_constants = 0;
        Set constant = constant_;
        for (int i = 0; i < code_.ops; ++i) {
            const MapOp& op = code_.code[i];
            again |= written & bit(op.out);
            written |= bit(op.out);
            if ((operands(op) & ~constant) == 0) {
                constant |= bit(op.out);
                out_of_constants |= bit(op.out);
            }
        }
        steps_.single = constant_;
        if ((out_of_constants & ~again) == 0) return;
        for (int i = 0; i < code_.ops; ++i) {
            const MapOp& op = code_.code[i];
            if ((operands(op) & ~constant_) != 0 || has(again, op.out)) continue;
            steps_.count = 0;
            steps_.held = nothing;
            steps_.operation(op, true);
            steps_.put(stop_step<T>, 0);
            steps_.run(state_);
            steps_.single = constant_ |= bit(op.out);
            computed_ |= bit(op.out);
        }
    }

    // An output's register is the output itself, unless an input in the same memory is still to be read.
    void place_outputs() {
        for (int k = 0; k < code_.outputs; ++k) {
            const int r = code_.results[k];
            results_ |= bit(r);
            if ((one_row_ && has(outputs_apart_, k)) || has(constant_ | direct_, r) || read_after(r, k)) {
                copied_ |= bit(k);
            } else {
                direct_ |= bit(r);
            }
        }
    }

    bool read_after(int result, int k) const {
        Set same = 0;
        const T* const begin = outputs_[k].data;
        const T* const end = begin + (rows_ - 1) * outputs_[k].stride + columns_;
        for (int i : members(full_)) {
            const T* const first = inputs_[i].data;
            if (first < end && begin < first + (rows_ - 1) * inputs_[i].stride + columns_) same |= bit(i);
        }
        if (same == 0) return false;
        bool written = false;
        for (int i = 0; i < code_.ops; ++i) {
            if (written && (operands(code_.code[i]) & same) != 0) return true;
            written |= code_.code[i].out == result;
        }
        return false;
    }

    // Turns operations into steps. A tile stays in the vectors for the next operation, and is stored only if a later
    // one asks for it.
    void translate(int first, int last) {
        Set after[most_ops];  // registers whose numbers are still asked for after the operation
        std::uint16_t order[most_ops];
        int count = most_ops;
        const Set at_end = last == code_.ops ? results_ : ~Set(0);
        Set live = at_end;
        for (int i = last; i-- > first;) {
            const MapOp& op = code_.code[i];
            if (!has(live & ~computed_, op.out)) continue;
            order[--count] = static_cast<std::uint16_t>(i - first);
            after[count] = live;
            live = (live & ~bit(op.out)) | operands(op);
        }
        steps_.count = 0;
        steps_.held = nothing;
        steps_.single = constant_ | (one_row_ ? 0 : column_vectors_);
        for (int j = count; j < most_ops; ++j) {
            const MapOp& op = code_.code[first + order[j]];
            Set asked = at_end;
            if (j + 1 < most_ops) {
                const MapOp& next = code_.code[first + order[j + 1]];
                asked = (after[j + 1] & ~bit(next.out)) | Steps<T>::from_memory(next, op.out);
            }
            steps_.operation(op, has(asked, op.out));
        }
        steps_.put(stop_step<T>, 0);
    }

    // All elements as one row: what cannot be read as it stands is expanded or collected.
    void begin_rows() {
        moving_ = (full_ & ~apart_) | direct_;
        T* room = expanded_;
        for (int i : members(row_vectors_)) {
            starts_[i] = state_.at[i] = room;  // columns_ + tile numbers, again and again those of the row
            const std::size_t size = columns_ + tile<T>;
            copy<T>(room, inputs_[i].data, columns_);
            for (std::size_t n = columns_; n < size; n *= 2) copy<T>(room + n, room, n < size - n ? n : size - n);
            room += size;
        }
        for (int i : members((full_ & apart_) | column_vectors_)) state_.at[i] = slot_of(i);
        for (int k = 0; k < code_.outputs; ++k) {
            if (!has(copied_, k)) state_.at[code_.results[k]] = outputs_[k].data;
        }
        at_row_ = at_column_ = 0;
    }

    void begin_row(std::size_t r) {
        moving_ = full_ | row_vectors_ | direct_;
        at_row_ = r;
        at_column_ = 0;
        for (int i : members(full_ | column_vectors_)) {
            state_.at[i] = const_cast<T*>(inputs_[i].data) + r * inputs_[i].stride;
        }
        for (int i : members(row_vectors_)) state_.at[i] = const_cast<T*>(inputs_[i].data);
        for (int k = 0; k < code_.outputs; ++k) {
            if (!has(copied_, k)) state_.at[code_.results[k]] = outputs_[k].data + r * outputs_[k].stride;
        }
    }

    LW_INLINE void row(std::size_t n) {
        state_.count = tile<T>;
        for (; n >= tile<T>; n -= tile<T>) {
            run_tile(tile<T>);
            for (int i : members(moving_)) state_.at[i] += tile<T>;
            at_column_ += tile<T>;
            if (one_row_ && rows_ > 1) follow();
        }
        if (n > 0) run_rest(n);
    }

    void follow() {
        if (at_column_ >= columns_) {
            at_row_ += at_column_ / columns_;
            at_column_ %= columns_;
        }
        for (int i : members(row_vectors_)) state_.at[i] = starts_[i] + at_column_;
    }

    // Less than a tile: inputs and outputs are copied, so that steps always work on a whole one.
    void run_rest(std::size_t n) {
        T* outputs[map_registers];
        for (int i : members(moving_ & ~direct_)) {
            copy_to_tile<T>(slot_of(i), state_.at[i], n);
            state_.at[i] = slot_of(i);
        }
        for (int r : members(direct_)) {
            outputs[r] = state_.at[r];
            state_.at[r] = slot_of(r);
        }
        state_.count = (n + width<T> - 1) / width<T> * width<T>;
        run_tile(n);
        for (int r : members(direct_)) copy<T>(outputs[r], slot_of(r), n);
    }

    LW_INLINE void run_tile(std::size_t n) {
        if (one_row_) collect(n);
        if (code_.ops <= most_ops) {
            steps_.run(state_);
        } else {
            for (int i = 0; i < code_.ops; i += most_ops) {
                translate(i, code_.ops - i < most_ops ? code_.ops : i + most_ops);
                steps_.run(state_);
            }
        }
        if (copied_ != 0) copy_outputs(n);
    }

    // n numbers from here on, row by row: f(row, column, place in the tile, how many).
    template <class F>
    LW_INLINE void pieces(std::size_t n, F f) const {
        std::size_t r = at_row_, c = at_column_;
        for (std::size_t done = 0; done < n; ++r, c = 0) {
            const std::size_t part = columns_ - c < n - done ? columns_ - c : n - done;
            f(r, c, done, part);
            done += part;
        }
    }

    LW_INLINE void collect(std::size_t n) {
        for (int i : members(column_vectors_)) {
            T* const out = slot_of(i);
            const MapInput<T>& in = inputs_[i];
            pieces(n, [&](std::size_t r, std::size_t, std::size_t to, std::size_t part) {
                fill<T>(out + to, in.data[r * in.stride], part);
            });
        }
        for (int i : members(full_ & apart_)) {
            T* const out = slot_of(i);
            const MapInput<T>& in = inputs_[i];
            pieces(n, [&](std::size_t r, std::size_t c, std::size_t to, std::size_t part) {
                copy<T>(out + to, in.data + r * in.stride + c, part);
            });
        }
    }

    void copy_outputs(std::size_t n) {
        for (int k : members(copied_)) {
            const T* from = state_.at[code_.results[k]];
            T number[slot];
            if (has(constant_, code_.results[k])) {
                fill<T>(number, *from, n);
                from = number;
            }
            pieces(n, [&](std::size_t r, std::size_t c, std::size_t start, std::size_t part) {
                copy<T>(outputs_[k].data + r * outputs_[k].stride + c, from + start, part);
            });
        }
    }

    const MapCode<T>& code_;
    const MapInput<T>* const inputs_;
    const MapOutput<T>* const outputs_;
    const std::size_t rows_, columns_;
    bool one_row_ = true;
    // Inputs, by the way they are read.
    Set full_ = 0, apart_ = 0, row_vectors_ = 0, column_vectors_ = 0;  // apart: full, and not dense
    Set outputs_apart_ = 0;  // by their own numbers
    // Registers.
    Set constant_ = 0;  // one number for the whole run
    Set computed_ = 0;  // of them, the results of operations
    Set results_ = 0;
    Set direct_ = 0;  // results that stand in an output
    Set copied_ = 0;  // the outputs, by their own numbers, that are copied from their registers
    Set moving_ = 0;  // registers that are the next numbers in memory for the next tile
    std::size_t at_row_ = 0, at_column_ = 0;
    T* starts_[map_registers];
    State<T> state_;
    Steps<T> steps_;
    alignas(64) T slots_[map_registers * slot];
    alignas(64) T expanded_[expanded_size + width<T>];
};

template <class T>
void run(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
         std::size_t columns) {
    if (rows == 0 || columns == 0) return;
    Run<T>(code, inputs, outputs, rows, columns).run();
}

}  // namespace

extern const Maps<float> maps_f32;
extern const Maps<double> maps_f64;
const Maps<float> maps_f32 = {run<float>};
const Maps<double> maps_f64 = {run<double>};

}  // namespace lw::LW_NAMESPACE
