// What an elementwise program is run as: steps that work on one tile of numbers, eight vectors that stay in registers
// from step to step. A step ends with a jump to the next one (a call in the last place, with all vectors as arguments),
// so that a chain of cheap operations costs neither loads nor stores for what lies between them.
#pragma once

#include "map.h"
#include "map_functions.h"
#include "math_table.h"

namespace lw::LW_NAMESPACE {

extern const MathTable math_table;

template <class T>
constexpr std::size_t tile = 8 * static_cast<std::size_t>(width<T>);

template <class T>
struct State {
    T* at[map_registers];  // where the registers' tiles, or their one numbers, are now
    const T* options;
    std::size_t count;  // of the numbers in the tile that are asked for
};

template <class T>
struct Step;

template <class T>
using Handler = void (*)(const Step<T>*, const State<T>*, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>,
                         Vector<T>, Vector<T>, Vector<T>);

template <class T>
struct Step {
    Handler<T> run;
    std::uint16_t x, y, z;  // registers
    std::uint16_t option;
};

#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::musttail)
#define LW_JUMP [[clang::musttail]] return
#endif
#endif
#if !defined(LW_JUMP)
#define LW_JUMP return  // GCC jumps too when it optimises; where it does not, a step takes a little of the stack
#endif

#define LW_TILE Vector<T> a0, Vector<T> a1, Vector<T> a2, Vector<T> a3, Vector<T> a4, Vector<T> a5, Vector<T> a6, Vector<T> a7
#define LW_NEXT LW_JUMP s[1].run(s + 1, state, a0, a1, a2, a3, a4, a5, a6, a7)
#define LW_EACH(DO) DO(a0, 0) DO(a1, 1) DO(a2, 2) DO(a3, 3) DO(a4, 4) DO(a5, 5) DO(a6, 6) DO(a7, 7)

template <class T>
void load_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const T* const x = state->at[s->x];
#define LW_DO(a, i) a = load<T>(x + i * width<T>);
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

template <class T>
void load_one_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const Vector<T> x = all<T>(*state->at[s->x]);
#define LW_DO(a, i) a = x;
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

template <class T>
void store_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    T* const x = state->at[s->x];
#define LW_DO(a, i) store<T>(x + i * width<T>, a);
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

template <class T>
void stop_step(const Step<T>*, const State<T>*, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>, Vector<T>,
               Vector<T>, Vector<T>) {}

// Functions of one number that are a few instructions.
template <class T, class F>
void unary_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const T* const options = state->options + s->option;
#define LW_DO(a, i) a = F::template of<T>(a, options);
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

// The others: on the tile in memory, and the registers are free afterwards.
template <class T, int kernel>
void call_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    ArrayFunction<T> f;
    if constexpr (sizeof(T) == 4) {
        f = math_table.float32[kernel];
    } else {
        f = math_table.float64[kernel];
    }
    f(state->at[s->x], state->at[s->y], state->count, state->options + s->option);
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = Vector<T>{};
    LW_NEXT;
}

// One of two operands is the tile in the registers; the other one a tile in memory, or one number.
enum class Form { with_memory, with_one, memory_first, one_first };

template <class T, class F, Form form>
void binary_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const T* const x = state->at[s->x];
    constexpr bool one = form == Form::with_one || form == Form::one_first;
    constexpr bool first = form == Form::memory_first || form == Form::one_first;
    const Vector<T> number = one ? all<T>(*x) : Vector<T>{};
#define LW_DO(a, i)                                                       \
    {                                                                     \
        const Vector<T> b = one ? number : load<T>(x + i * width<T>);     \
        a = first ? F::template of<T>(b, a) : F::template of<T>(a, b);    \
    }
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

// The condition is the tile in the registers.
template <class T, class F, bool x_one, bool y_one>
void ternary_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const T *const x = state->at[s->x], *const y = state->at[s->y];
    const Vector<T> x_number = x_one ? all<T>(*x) : Vector<T>{}, y_number = y_one ? all<T>(*y) : Vector<T>{};
#define LW_DO(a, i)                                                         \
    a = F::template of<T>(a, x_one ? x_number : load<T>(x + i * width<T>),  \
                          y_one ? y_number : load<T>(y + i * width<T>));
    LW_EACH(LW_DO)
#undef LW_DO
    LW_NEXT;
}

// Powers are long: a loop over the tile in memory.
template <class T, bool x_one, bool y_one>
void power_step(const Step<T>* s, const State<T>* state, LW_TILE) {
    const T *const x = state->at[s->x], *const y = state->at[s->y];
    T* const out = state->at[s->z];
    const Vector<T> x_number = x_one ? all<T>(*x) : Vector<T>{}, y_number = y_one ? all<T>(*y) : Vector<T>{};
    for (std::size_t i = 0; i < state->count; i += width<T>) {
        store<T>(out + i, power_v<T>(x_one ? x_number : load<T>(x + i), y_one ? y_number : load<T>(y + i)));
    }
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = Vector<T>{};
    LW_NEXT;
}

}  // namespace lw::LW_NAMESPACE
