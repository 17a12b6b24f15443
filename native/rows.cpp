#include "rows.h"

namespace lw {

#define LW_DECLARE(ISA)                         \
    namespace isa_##ISA {                       \
    extern const RowKernels<float> rows_f32;    \
    extern const RowKernels<double> rows_f64;   \
    }

LW_DECLARE(baseline)
#if defined(LW_X86)
LW_DECLARE(avx2)
LW_DECLARE(avx512)
#endif

template <>
const RowKernels<float>& row_kernels<float>(Isa isa) {
#if defined(LW_X86)
    if (isa == Isa::avx512) return isa_avx512::rows_f32;
    if (isa == Isa::avx2) return isa_avx2::rows_f32;
#endif
    (void)isa;
    return isa_baseline::rows_f32;
}

template <>
const RowKernels<double>& row_kernels<double>(Isa isa) {
#if defined(LW_X86)
    if (isa == Isa::avx512) return isa_avx512::rows_f64;
    if (isa == Isa::avx2) return isa_avx2::rows_f64;
#endif
    (void)isa;
    return isa_baseline::rows_f64;
}

}  // namespace lw
