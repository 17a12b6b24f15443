#include "gather.h"

namespace lw {

#define LW_DECLARE(ISA)                                  \
    namespace isa_##ISA {                                \
    extern const Gather<float> gather_f32;               \
    extern const Gather<double> gather_f64;              \
    extern const Gather<std::int64_t> gather_i64;        \
    }

LW_DECLARE(baseline)
#if defined(LW_X86)
LW_DECLARE(avx2)
LW_DECLARE(avx512)
#define LW_CHOOSE(name)                                     \
    if (isa == Isa::avx512) return isa_avx512::name;        \
    if (isa == Isa::avx2) return isa_avx2::name;            \
    return isa_baseline::name;
#else
#define LW_CHOOSE(name) \
    (void)isa;          \
    return isa_baseline::name;
#endif

template <>
const Gather<float>& gather<float>(Isa isa) {
    LW_CHOOSE(gather_f32)
}

template <>
const Gather<double>& gather<double>(Isa isa) {
    LW_CHOOSE(gather_f64)
}

template <>
const Gather<std::int64_t>& gather<std::int64_t>(Isa isa) {
    LW_CHOOSE(gather_i64)
}

}  // namespace lw
