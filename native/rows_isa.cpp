// The kernels of rows.h for one instruction set.
#include "rows_reduce.h"
#include "rows_search.h"

namespace lw::LW_NAMESPACE {

template <class T>
constexpr RowKernels<T> row_table = {
    softmax<T>, log_softmax<T>, softmax_cross_entropy<T>, row_reduce<T>, column_reduce<T>, argmax<T>, within<T>,
};

extern const RowKernels<float> rows_f32;
extern const RowKernels<double> rows_f64;
const RowKernels<float> rows_f32 = row_table<float>;
const RowKernels<double> rows_f64 = row_table<double>;

}  // namespace lw::LW_NAMESPACE
