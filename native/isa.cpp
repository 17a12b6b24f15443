#include "isa.h"

#include <cstdlib>
#include <initializer_list>
#include <stdexcept>

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

Isa isa_named(std::string_view name) {
    std::string available;
    for (int i = 0; i < isa_count; ++i) {
        const Isa isa = static_cast<Isa>(i);
        if (!isa_available(isa)) continue;
        if (name == isa_name(isa)) return isa;
        available += std::string(available.empty() ? "" : ", ") + isa_name(isa);
    }
    throw std::invalid_argument("the instruction set must be one that this processor has (" + available +
                                "); got \"" + std::string(name) + "\".");
}

Isa best_isa() {
    static const Isa best = [] {
        const char* const asked = std::getenv("LAYERWISE_ISA");
        if (asked != nullptr && *asked != '\0') return isa_named(asked);
        for (Isa isa : {Isa::avx512, Isa::avx2}) {
            if (isa_available(isa)) return isa;
        }
        return Isa::baseline;
    }();
    return best;
}

Isa isa_or_best(const std::optional<std::string>& name) { return name ? isa_named(*name) : best_isa(); }

}  // namespace lw
