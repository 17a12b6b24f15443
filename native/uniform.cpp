#include "uniform.h"

#include "isa_tables.h"

namespace lw {

LW_IN_EACH_SET(extern const UniformKernels<float> uniform_f32; extern const UniformKernels<double> uniform_f64;)

template <>
const UniformKernels<float>& uniform_kernels<float>(Isa isa) {
    return LW_OF_SET(isa, uniform_f32);
}

template <>
const UniformKernels<double>& uniform_kernels<double>(Isa isa) {
    return LW_OF_SET(isa, uniform_f64);
}

}  // namespace lw
