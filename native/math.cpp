#include "math_table.h"

namespace lw {

namespace isa_baseline {
extern const MathTable math_table;
}
#if defined(LW_X86)
namespace isa_avx2 {
extern const MathTable math_table;
}
namespace isa_avx512 {
extern const MathTable math_table;
}
#endif

const MathTable& math_table(Isa isa) {
#if defined(LW_X86)
    if (isa == Isa::avx512) return isa_avx512::math_table;
    if (isa == Isa::avx2) return isa_avx2::math_table;
#else
    static_cast<void>(isa);
#endif
    return isa_baseline::math_table;
}

}  // namespace lw
