// From the operations of an elementwise program to steps on tiles.
#pragma once

#include "map_steps.h"

namespace lw::LW_NAMESPACE {

using Set = std::uint64_t;  // of registers or of outputs, one bit each
static_assert(map_registers <= 64);

constexpr Set bit(int i) { return Set(1) << i; }
LW_INLINE bool has(Set set, int i) { return (set >> i & 1) != 0; }

// for (int i : members(set))
struct Members {
    Set set;
    LW_INLINE int operator*() const { return __builtin_ctzll(set); }
    LW_INLINE void operator++() { set &= set - 1; }
    LW_INLINE bool operator!=(const Members& other) const { return set != other.set; }
    LW_INLINE Members begin() const { return *this; }
    LW_INLINE Members end() const { return {0}; }
};
LW_INLINE Members members(Set set) { return {set}; }

// Operations -----------------------------------------------------------------------------------------------------

enum class Kind : std::uint8_t { unary, call, binary, power, ternary };

enum class Binary {
#define LW_BINARY(name, Name) Name,
#include "kernels.def"
    count
};
constexpr int binary_count = static_cast<int>(Binary::count);

constexpr bool is_short(Unary f) {
    return f == Unary::Identity || f == Unary::Negative || f == Unary::Square || f == Unary::Sqrt ||
           f == Unary::Absolute || f == Unary::Sign || f == Unary::Clip || f == Unary::Relu || f == Unary::LeakyRelu ||
           f == Unary::Hardtanh;
}

constexpr Kind kinds[] = {
#define LW_UNARY(name, Name, options) is_short(Unary::Name) ? Kind::unary : Kind::call,
#define LW_BINARY(name, Name) Binary::Name == Binary::Power ? Kind::power : Kind::binary,
#define LW_TERNARY(name, Name) Kind::ternary,
#include "kernels.def"
};

constexpr int option_counts[] = {
#define LW_UNARY(name, Name, options) options,
#define LW_BINARY(name, Name) 0,
#define LW_TERNARY(name, Name) 0,
#include "kernels.def"
};

LW_INLINE Set operands(const MapOp& op) {
    Set set = bit(op.a);
    if (op.kernel >= unary_count) set |= bit(op.b);
    if (op.kernel >= unary_count + binary_count) set |= bit(op.c);
    return set;
}

#define LW_OF_0(name) name##_v<T>(x)
#define LW_OF_1(name) name##_v<T>(x, options[0])
#define LW_OF_2(name) name##_v<T>(x, options[0], options[1])
#define LW_UNARY(name, Name, count)                                                       \
    struct Name##Function {                                                               \
        template <class T>                                                                \
        LW_INLINE static Vector<T> of(Vector<T> x, [[maybe_unused]] const T* options) {   \
            return LW_OF_##count(name);                                                   \
        }                                                                                 \
    };
#define LW_BINARY(name, Name)                                     \
    struct Name##Function {                                       \
        template <class T>                                        \
        LW_INLINE static Vector<T> of(Vector<T> x, Vector<T> y) { \
            return name##_v<T>(x, y);                             \
        }                                                         \
    };
#define LW_TERNARY(name, Name)                                                 \
    struct Name##Function {                                                    \
        template <class T>                                                     \
        LW_INLINE static Vector<T> of(Vector<T> x, Vector<T> y, Vector<T> z) { \
            return name##_v<T>(x, y, z);                                       \
        }                                                                      \
    };
#include "kernels.def"
#undef LW_OF_0
#undef LW_OF_1
#undef LW_OF_2

template <class Tile, class F, Unary f>
constexpr typename Tile::Handler unary_step() {
    if constexpr (is_short(f)) {
        return Tile::template unary<F>;
    } else {
        return Tile::template call<static_cast<int>(f)>;
    }
}

template <class Tile, class F, Binary f, Form form>
constexpr typename Tile::Handler binary_step() {
    if constexpr (f == Binary::Power) {
        constexpr bool x_one = form == Form::one_first, y_one = form == Form::with_one;
        return Tile::template power<x_one, y_one>;
    } else {
        return Tile::template binary<F, form>;
    }
}

template <class Tile>
constexpr typename Tile::Handler unary_steps[] = {
#define LW_UNARY(name, Name, options) unary_step<Tile, Name##Function, Unary::Name>(),
#include "kernels.def"
};

// By Form.
template <class Tile>
constexpr typename Tile::Handler binary_steps[][4] = {
#define LW_BINARY(name, Name)                                                  \
    {binary_step<Tile, Name##Function, Binary::Name, Form::with_tile>(),       \
     binary_step<Tile, Name##Function, Binary::Name, Form::with_one>(),        \
     binary_step<Tile, Name##Function, Binary::Name, Form::tile_first>(),      \
     binary_step<Tile, Name##Function, Binary::Name, Form::one_first>()},
#include "kernels.def"
};

// By which of the other operands are one number: bit 0 the second, bit 1 the third.
template <class Tile>
constexpr typename Tile::Handler ternary_steps[][4] = {
#define LW_TERNARY(name, Name)                                                                                     \
    {Tile::template ternary<Name##Function, false, false>, Tile::template ternary<Name##Function, true, false>,    \
     Tile::template ternary<Name##Function, false, true>, Tile::template ternary<Name##Function, true, true>},
#include "kernels.def"
};

// Steps ----------------------------------------------------------------------------------------------------------

constexpr int nothing = -1;
constexpr std::size_t most_steps = 3;  // of one operation

// Writes the steps of one operation after another.
template <class T, class Tile>
class Writer {
public:
    using Step = typename Tile::Step;

    Writer(Step* to, Set single) : next_(to), single_(single) {}

    // The operands that an operation takes from memory while this register's tile is in the vectors.
    static Set from_memory(const MapOp& op, int held) {
        switch (kinds[op.kernel]) {
            case Kind::unary:
                return op.a == held ? 0 : bit(op.a);
            case Kind::binary:
                return op.a == held ? bit(op.b) : op.b == held ? bit(op.a) : bit(op.a) | bit(op.b);
            case Kind::ternary:
                return (op.a == held ? 0 : bit(op.a)) | bit(op.b) | bit(op.c);
            default:
                return operands(op);
        }
    }

    void operation(const MapOp& op, bool stored) {
        const bool a_one = has(single_, op.a);
        const int option = option_counts[op.kernel] > 0 ? op.option : 0;
        switch (kinds[op.kernel]) {
            case Kind::unary:
                hold(op.a);
                put(unary_steps<Tile>[op.kernel], 0, 0, 0, option);
                break;
            case Kind::binary: {
                const auto& forms = binary_steps<Tile>[op.kernel - unary_count];
                if (held_ == op.b && held_ != op.a) {
                    put(forms[static_cast<int>(a_one ? Form::one_first : Form::tile_first)], op.a);
                } else {
                    hold(op.a);
                    put(forms[static_cast<int>(has(single_, op.b) ? Form::with_one : Form::with_tile)], op.b);
                }
                break;
            }
            case Kind::ternary:
                hold(op.a);
                put(ternary_steps<Tile>[op.kernel - unary_count - binary_count]
                                       [has(single_, op.b) + 2 * has(single_, op.c)],
                    op.b, op.c);
                break;
            case Kind::call:
                put(unary_steps<Tile>[op.kernel], a_one ? spread(op.a, op.out) : op.a, 0, op.out, option);
                return leave();
            case Kind::power: {
                const int b = a_one && has(single_, op.b) ? spread(op.b, op.out) : op.b;
                const Form form = a_one ? Form::one_first : has(single_, op.b) ? Form::with_one : Form::with_tile;
                put(binary_steps<Tile>[op.kernel - unary_count][static_cast<int>(form)], op.a, b, op.out);
                return leave();
            }
        }
        held_ = op.out;
        if (stored) put(Tile::store_tile, op.out);
    }

    // What is in the vectors counts no more.
    void leave() { held_ = nothing; }
    void now_single(int r) { single_ |= bit(r); }

    void finish() { put(Tile::stop); }

private:
    void put(typename Tile::Handler run, int x = 0, int y = 0, int z = 0, int option = 0) {
        *next_++ = {run, static_cast<std::uint16_t>(x), static_cast<std::uint16_t>(y), static_cast<std::uint16_t>(z),
                    static_cast<std::uint16_t>(option)};
    }

    void hold(int r) {
        if (held_ != r) put(has(single_, r) ? Tile::load_one : Tile::load_tile, r);
    }

    // A tile of one number, where a step needs one.
    int spread(int number, int to) {
        put(Tile::load_one, number);
        put(Tile::store_tile, to);
        return to;
    }

    Step* next_;
    Set single_;  // registers that hold one number
    int held_ = nothing;
};

// All of a program: a tile stays in the vectors for the next operation, and is stored only if a later one asks for it.
template <class T, class Tile>
void write_steps(const MapCode<T>& code, Set live, Set single, Set computed, Set* after, int* order,
                 typename Tile::Step* to) {
    // Backwards: which operations count at all, and which registers are still asked for after each.
    int first = code.ops;
    const Set at_end = live;
    for (int i = code.ops; i-- > 0;) {
        const MapOp& op = code.code[i];
        if (!has(live & ~computed, op.out)) continue;
        order[--first] = i;
        after[first] = live;
        live = (live & ~bit(op.out)) | operands(op);
    }
    Writer<T, Tile> writer(to, single);
    for (int j = first; j < code.ops; ++j) {
        const MapOp& op = code.code[order[j]];
        Set asked = at_end;
        if (j + 1 < code.ops) {
            const MapOp& next = code.code[order[j + 1]];
            asked = (after[j + 1] & ~bit(next.out)) | Writer<T, Tile>::from_memory(next, op.out);
        }
        writer.operation(op, has(asked, op.out));
    }
    writer.finish();
}

// Plans ----------------------------------------------------------------------------------------------------------

// A program as it is run; it keeps nothing of the code. Stands in memory of the caller, and is not moved.
template <class T>
struct Plan {
    int inputs, outputs;
    Set full, row_vectors, column_vectors, scalars;  // inputs by mode
    Set registers;                                   // the others, that operations write
    Set computed;                                    // of them, numbers for the whole run
    Set direct;                                      // outputs whose registers may stand in their memory
    const std::uint16_t* results;
    const Set* read_later;  // of each output: the inputs still read after its register is written
    const T* options;
    // Column vectors are one number for each row, or expanded to tiles.
    struct Lists {
        const typename Wide<T>::Step* wide;
        const typename Narrow<T>::Step* narrow;
    };
    const typename Narrow<T>::Step* constants;  // nullptr: none
    Lists by_row, flat;
    ArrayFunction<T> lone;  // of a program that is one long function of an input: on all of it at once; or nullptr
    const T* lone_options;
    int lone_input;
};

// Hands out a piece of memory bit by bit; without any it only counts.
class Room {
public:
    explicit Room(void* memory) : at_(static_cast<unsigned char*>(memory)) {}

    template <class U>
    U* take(std::size_t n) {
        U* const p = at_ == nullptr ? nullptr : reinterpret_cast<U*>(at_ + used_);
        used_ += (n * sizeof(U) + 15) / 16 * 16;
        return p;
    }
    std::size_t used() const { return used_; }

private:
    unsigned char* at_;
    std::size_t used_ = 0;
};

template <class T>
struct PlanMemory {
    Plan<T>* plan;
    std::uint16_t* results;
    Set* read_later;
    T* options;
    int option_count = 0;
    typename Narrow<T>::Step *constants, *narrow[2];
    typename Wide<T>::Step* wide[2];
    Set* after;
    int* order;
    std::size_t size;

    PlanMemory(const MapCode<T>& code, void* memory) {
        for (int i = 0; i < code.ops; ++i) {
            const int count = option_counts[code.code[i].kernel], end = code.code[i].option + count;
            if (count > 0 && end > option_count) option_count = end;
        }
        const auto outputs = static_cast<std::size_t>(code.outputs), ops = static_cast<std::size_t>(code.ops);
        const std::size_t steps = most_steps * ops + 1;
        Room room(memory);
        plan = room.take<Plan<T>>(1);
        results = room.take<std::uint16_t>(outputs);
        read_later = room.take<Set>(outputs);
        options = room.take<T>(static_cast<std::size_t>(option_count));
        constants = room.take<typename Narrow<T>::Step>(steps);
        for (int i = 0; i < 2; ++i) {
            wide[i] = room.take<typename Wide<T>::Step>(steps);
            narrow[i] = room.take<typename Narrow<T>::Step>(steps);
        }
        after = room.take<Set>(ops);
        order = room.take<int>(ops);
        size = room.used();
    }
};

template <class T>
std::size_t prepared_size(const MapCode<T>& code) {
    return PlanMemory<T>(code, nullptr).size;
}

template <class T>
void prepare(const MapCode<T>& code, void* memory) {
    const PlanMemory<T> m(code, memory);
    Plan<T>& plan = *m.plan;
    plan = {};
    plan.inputs = code.inputs;
    plan.outputs = code.outputs;
    for (int i = 0; i < code.inputs; ++i) {
        Set* const sets[] = {&plan.full, &plan.row_vectors, &plan.column_vectors, &plan.scalars};
        *sets[static_cast<int>(code.modes[i])] |= bit(i);
    }
    plan.results = m.results;
    plan.read_later = m.read_later;
    plan.options = m.options;
    for (int i = 0; i < m.option_count; ++i) m.options[i] = code.options[i];

    // Operations on numbers, where no other one has the same register for its result, are run once.
    Set again = 0;
    for (int i = 0; i < code.ops; ++i) {
        again |= plan.registers & bit(code.code[i].out);
        plan.registers |= bit(code.code[i].out);
    }
    Writer<T, Narrow<T>> constants(m.constants, plan.scalars);
    for (int i = 0; i < code.ops; ++i) {
        const MapOp& op = code.code[i];
        if ((operands(op) & ~(plan.scalars | plan.computed)) != 0 || has(again, op.out)) continue;
        constants.leave();
        constants.operation(op, true);
        constants.now_single(op.out);
        plan.computed |= bit(op.out);
    }
    constants.finish();
    plan.constants = plan.computed == 0 ? nullptr : m.constants;

    Set results = 0;
    for (int k = 0; k < code.outputs; ++k) {
        const int r = code.results[k];
        m.results[k] = code.results[k];
        if (!has(results | plan.computed, r)) plan.direct |= bit(k);
        results |= bit(r);
        bool written = false;
        m.read_later[k] = 0;
        for (int i = 0; i < code.ops; ++i) {
            if (written) m.read_later[k] |= operands(code.code[i]);
            written |= code.code[i].out == r;
        }
        m.read_later[k] &= bit(code.inputs) - 1;
    }

    const Set numbers = plan.scalars | plan.computed;
    const Set single[2] = {numbers | plan.column_vectors, numbers};
    const int lists = plan.column_vectors == 0 ? 1 : 2;
    for (int i = 0; i < lists; ++i) {
        write_steps<T, Wide<T>>(code, results, single[i], plan.computed, m.after, m.order, m.wide[i]);
        write_steps<T, Narrow<T>>(code, results, single[i], plan.computed, m.after, m.order, m.narrow[i]);
    }
    plan.by_row = {m.wide[0], m.narrow[0]};
    plan.flat = {m.wide[lists - 1], m.narrow[lists - 1]};

    const MapOp& only = code.code[0];
    if (code.ops == 1 && kinds[only.kernel] == Kind::call && has(plan.full, only.a)) {
        plan.lone = array_functions<T>()[only.kernel];
        plan.lone_input = only.a;
        plan.lone_options = m.options + (option_counts[only.kernel] > 0 ? only.option : 0);
    }
}

}  // namespace lw::LW_NAMESPACE
