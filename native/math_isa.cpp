// The elementwise functions on arrays. Compiled once for each instruction set (see simd.h).
#include "math.h"
#include "math_table.h"

namespace lw::LW_NAMESPACE {
namespace {

// The rest of an array goes through the same code as a full vector, so it has the same bits.
template <class T, class F>
LW_INLINE void map(const T* in, T* out, std::size_t n, F f) {
    constexpr std::size_t step = width<T>;
    std::size_t i = 0;
    for (; i + step <= n; i += step) store<T>(out + i, f(load<T>(in + i)));
    if (i < n) {
        const int rest = static_cast<int>(n - i);
        store_part<T>(out + i, f(load_part<T>(in + i, rest)), rest);
    }
}

#define LW_CALL_0(name) name##_v<T>(x)
#define LW_CALL_1(name) name##_v<T>(x, options[0])
#define LW_CALL_2(name) name##_v<T>(x, options[0], options[1])
#define LW_UNARY(name, Name, count)                                                                   \
    template <class T>                                                                                \
    void name##_array(const T* in, T* out, std::size_t n, [[maybe_unused]] const T* options) {        \
        map<T>(in, out, n, [=](Vector<T> x) __attribute__((always_inline)) { return LW_CALL_##count(name); }); \
    }
#include "kernels.def"

}  // namespace

extern const MathTable math_table;
const MathTable math_table = {
    {
#define LW_UNARY(name, Name, options) name##_array<float>,
#include "kernels.def"
    },
    {
#define LW_UNARY(name, Name, options) name##_array<double>,
#include "kernels.def"
    },
};

}  // namespace lw::LW_NAMESPACE
