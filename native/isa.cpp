#include "isa.h"

#include <initializer_list>

namespace lw {

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::baseline:
            return "baseline";
        case Isa::avx2:
            return "avx2";
        case Isa::avx512:
            return "avx512";
    }
    return "";
}

bool isa_available(Isa isa) {
#if defined(LW_X86)
    // The compiler's own test includes that of the operating system (XGETBV).
    switch (isa) {
        case Isa::baseline:
            return true;
        case Isa::avx2:
            return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        case Isa::avx512:
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
    }
    return false;
#else
    return isa == Isa::baseline;
#endif
}

Isa best_isa() {
    for (Isa isa : {Isa::avx512, Isa::avx2}) {
        if (isa_available(isa)) return isa;
    }
    return Isa::baseline;
}

}  // namespace lw
