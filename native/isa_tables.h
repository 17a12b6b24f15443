// Tables of kernels, which *_isa.cpp define once for each instruction set, and the choice among them.
#pragma once

#include "isa.h"

#if defined(LW_X86)
// Declarations in the namespace of each set.
#define LW_IN_EACH_SET(...)         \
    namespace isa_baseline {        \
    __VA_ARGS__                     \
    }                               \
    namespace isa_avx2 {            \
    __VA_ARGS__                     \
    }                               \
    namespace isa_avx512 {          \
    __VA_ARGS__                     \
    }
// The table of that name in the namespace of this set.
#define LW_OF_SET(isa, name)                           \
    ((isa) == Isa::avx512 ? isa_avx512::name           \
     : (isa) == Isa::avx2 ? isa_avx2::name             \
                          : isa_baseline::name)
#else
#define LW_IN_EACH_SET(...)  \
    namespace isa_baseline { \
    __VA_ARGS__              \
    }
#define LW_OF_SET(isa, name) (static_cast<void>(isa), isa_baseline::name)
#endif
