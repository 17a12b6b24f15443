#include "rows.h"

#include "isa_tables.h"

namespace lw {

LW_IN_EACH_SET(extern const RowKernels<float> rows_f32; extern const RowKernels<double> rows_f64;)

template <>
const RowKernels<float>& row_kernels<float>(Isa isa) {
    return LW_OF_SET(isa, rows_f32);
}

template <>
const RowKernels<double>& row_kernels<double>(Isa isa) {
    return LW_OF_SET(isa, rows_f64);
}

}  // namespace lw
