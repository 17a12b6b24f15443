// The elementwise functions on arrays, by name and instruction set.
#pragma once

#include <cstddef>

#include "isa.h"

namespace lw {

enum class Unary {
#define LW_UNARY(name, Name, options) Name,
#include "kernels.def"
};

struct UnaryFacts {
    const char* name;
    int options;
};

constexpr UnaryFacts unary_facts[] = {
#define LW_UNARY(name, Name, options) {#name, options},
#include "kernels.def"
};
constexpr int unary_count = static_cast<int>(sizeof unary_facts / sizeof *unary_facts);

// out[i] = f(in[i]) for n elements of any alignment; out may be in. An element's bits do not depend on where it stands.
template <class T>
using ArrayFunction = void (*)(const T* in, T* out, std::size_t n, const T* options);

struct MathTable {
    ArrayFunction<float> float32[unary_count];
    ArrayFunction<double> float64[unary_count];
};

const MathTable& math_table(Isa isa);

}  // namespace lw
