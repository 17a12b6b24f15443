#include "product.h"

namespace lw {

#define LW_DECLARE(ISA)                          \
    namespace isa_##ISA {                        \
    extern const Products<float> products_f32;   \
    extern const Products<double> products_f64;  \
    }

LW_DECLARE(baseline)
#if defined(LW_X86)
LW_DECLARE(avx2)
LW_DECLARE(avx512)
#endif

template <>
const Products<float>& products<float>(Isa isa) {
#if defined(LW_X86)
    if (isa == Isa::avx512) return isa_avx512::products_f32;
    if (isa == Isa::avx2) return isa_avx2::products_f32;
#endif
    (void)isa;
    return isa_baseline::products_f32;
}

template <>
const Products<double>& products<double>(Isa isa) {
#if defined(LW_X86)
    if (isa == Isa::avx512) return isa_avx512::products_f64;
    if (isa == Isa::avx2) return isa_avx2::products_f64;
#endif
    (void)isa;
    return isa_baseline::products_f64;
}

}  // namespace lw
