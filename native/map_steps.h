// What an elementwise program is run as: steps on a tile of numbers, some vectors that stay in registers from step to
// step. A step ends with a jump to the next one (a call in the last place, with all vectors as arguments), so a chain
// of short operations costs neither loads nor stores for what lies between them.
#pragma once

#include "map.h"
#include "map_functions.h"
#include "math_table.h"

namespace lw::LW_NAMESPACE {

extern const MathTable math_table;

template <class T>
LW_INLINE const ArrayFunction<T>* array_functions() {
    if constexpr (sizeof(T) == 4) {
        return math_table.float32;
    } else {
        return math_table.float64;
    }
}

template <class T>
struct State {
    T* at[map_registers];  // where the numbers of each register are now: those of a tile, or one
    const T* options;
    std::size_t count;  // how many of a tile are asked for, in whole vectors
};

// Of two operands one is the tile in the vectors; the other one is in memory, a tile or one number.
enum class Form { with_tile, with_one, tile_first, one_first };

#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::musttail)
#define LW_JUMP [[clang::musttail]] return
#endif
#endif
#if !defined(LW_JUMP)
#define LW_JUMP return  // GCC jumps when it optimises; where it does not, each step takes a little of the stack
#endif

// V: Vector<T>, as often as a tile has vectors; at most 8 are passed in registers.
template <class T, class... V>
struct Tile {
    static constexpr std::size_t size = sizeof...(V) * static_cast<std::size_t>(width<T>);

    struct Step {
        void (*run)(const Step*, const State<T>*, V...);
        std::uint16_t x, y, z;  // registers
        std::uint16_t option;
    };
    using Handler = void (*)(const Step*, const State<T>*, V...);

    static void start(const Step* s, const State<T>* state) { s->run(s, state, V{}...); }

    static void stop(const Step*, const State<T>*, V...) {}

    static void load_tile(const Step* s, const State<T>* state, V... a) {
        const T* x = state->at[s->x];
        ((a = load<T>(x), x += width<T>), ...);
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    static void load_one(const Step* s, const State<T>* state, V... a) {
        const Vector<T> x = all<T>(*state->at[s->x]);
        ((a = x), ...);
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    static void store_tile(const Step* s, const State<T>* state, V... a) {
        T* x = state->at[s->x];
        ((store<T>(x, a), x += width<T>), ...);
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    // A function of one number that is a few instructions.
    template <class F>
    static void unary(const Step* s, const State<T>* state, V... a) {
        const T* const options = state->options + s->option;
        ((a = F::template of<T>(a, options)), ...);
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    template <class F, Form form>
    static void binary(const Step* s, const State<T>* state, V... a) {
        const T* x = state->at[s->x];
        if constexpr (form == Form::with_tile) {
            ((a = F::template of<T>(a, load<T>(x)), x += width<T>), ...);
        } else if constexpr (form == Form::tile_first) {
            ((a = F::template of<T>(load<T>(x), a), x += width<T>), ...);
        } else {
            const Vector<T> number = all<T>(*x);
            ((a = form == Form::with_one ? F::template of<T>(a, number) : F::template of<T>(number, a)), ...);
        }
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    // The first of three operands is the tile in the vectors.
    template <class F, bool x_one, bool y_one>
    static void ternary(const Step* s, const State<T>* state, V... a) {
        const T *x = state->at[s->x], *y = state->at[s->y];
        const Vector<T> x_number = all<T>(*x), y_number = all<T>(*y);
        ((a = F::template of<T>(a, x_one ? x_number : load<T>(x), y_one ? y_number : load<T>(y)), x += width<T>,
          y += width<T>),
         ...);
        LW_JUMP s[1].run(s + 1, state, a...);
    }

    // Long functions work on memory, x to z, and leave nothing in the vectors.
    template <int kernel>
    static void call(const Step* s, const State<T>* state, V...) {
        array_functions<T>()[kernel](state->at[s->x], state->at[s->z], state->count, state->options + s->option);
        LW_JUMP s[1].run(s + 1, state, V{}...);
    }

    template <bool x_one, bool y_one>
    static void power(const Step* s, const State<T>* state, V...) {
        const T *const x = state->at[s->x], *const y = state->at[s->y];
        const Vector<T> x_number = all<T>(*x), y_number = all<T>(*y);
        const auto each = [&](auto f) __attribute__((always_inline)) {
            T* const z = state->at[s->z];
            for (std::size_t i = 0; i < state->count; i += width<T>) {
                store<T>(z + i, f(x_one ? x_number : load<T>(x + i), y_one ? y_number : load<T>(y + i)));
            }
        };
        using Number = Vector<T>;
        if (y_one && *y == T(2)) {
            each([](Number a, Number) __attribute__((always_inline)) { return a * a; });
        } else if (y_one && *y == T(3)) {
            each([](Number a, Number) __attribute__((always_inline)) { return cube<T>(a); });
        } else if (y_one && *y == T(-1)) {
            each([](Number a, Number) __attribute__((always_inline)) { return T(1) / a; });
        } else if (y_one && *y == T(0.5)) {
            each([](Number a, Number) __attribute__((always_inline)) { return root<T>(a); });
        } else {
            each([](Number a, Number b) __attribute__((always_inline)) { return power_v<T>(a, b); });
        }
        LW_JUMP s[1].run(s + 1, state, V{}...);
    }
};

template <class T>
using Wide = Tile<T, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>>;
template <class T>
using Narrow = Tile<T, Vector<T>, Vector<T>, Vector<T>, Vector<T>>;

}  // namespace lw::LW_NAMESPACE
