// A chain of dense layers made ready to predict: weights packed once, then any number of rows from any thread.
//
// Rows are computed in panels, all layers of a panel before the next one, so that what lies between two layers stays
// in cache. Threads share out the panels; of fewer rows than that, the columns of each layer. A row's bits depend on
// the row and the weights only: not on the rows beside it, nor on the threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "gather.h"
#include "isa.h"
#include "math_table.h"
#include "product.h"
#include "rows.h"

namespace lw {

constexpr int max_options = 4;

template <class T>
constexpr Element element_of = sizeof(T) == 4 ? Element::float32 : Element::float64;

template <class T>
class Forward {
public:
    explicit Forward(Isa isa);
    Forward(const Forward&) = delete;
    Forward& operator=(const Forward&) = delete;

    // A further layer f(A·W + b): W (in, out) row-major, b (out) or null, all copied. `function` is a name of
    // kernels.def, "identity", "softmax", "log_softmax", or "sigmoid_pair": σ(-z) and σ(z), the probabilities of two
    // classes from one pre-activation. std::invalid_argument for another name, another number of options, or a width
    // that is not that of the layer before.
    void add(const T* W, const T* b, std::size_t in, std::size_t out, std::string_view function, const T* options,
             int option_count);

    std::size_t inputs() const { return layers_.empty() ? 0 : layers_.front().in; }
    std::size_t outputs() const { return layers_.empty() ? 0 : layers_.back().out(); }

    // Floating-point operations for one row, an elementwise function counted as 32.
    double work() const { return work_; }

    // Rows as the caller has them: n of `inputs` numbers, without gaps.
    struct Rows {
        const void* data;
        Element element;
        std::size_t n;
    };

    // The outputs (n, outputs) on at most `threads` threads; false where a number is not finite in T, and `out` is then
    // of no use. Allocates nothing for few rows of moderate width.
    bool checked(const Rows& X, T* out, int threads) const;

    // The column of the largest output in each row; a NaN counts as the largest, the first of equal ones is taken.
    bool classes(const Rows& X, std::int64_t* labels, int threads) const;

    // X (n, inputs) to out (n, outputs), whatever the values.
    void run(const T* X, std::size_t n, T* out, int threads) const;

private:
    enum class Row { none, softmax, log_softmax, sigmoid_pair };

    struct Release {
        void operator()(T* p) const;
    };

    struct Layer {
        std::size_t in, width;
        std::unique_ptr<T[], Release> packed;
        std::vector<T> bias;
        Epilogue epilogue;
        ArrayFunction<T> function;  // null: nothing further to do
        std::array<T, max_options> options;
        Row row;

        std::size_t out() const { return row == Row::sigmoid_pair ? 2 : width; }
        double work() const;  // operations for one row
    };

    struct Call;
    struct Work;
    bool start(const Call& call, int threads) const;
    bool panel(const Call& call, std::size_t first, std::size_t rows, T* work, int threads) const;
    void compute(const Layer& layer, const T* A, std::size_t rows, T* Z, int threads) const;
    void finish(const Layer& layer, const T* Z, std::size_t rows, T* A) const;

    const Products<T>& products_;
    const MathTable& math_;
    const Gather<T>& gather_;
    const RowKernels<T>& rows_;
    const RowKernels<double>& wide_rows_;
    std::vector<Layer> layers_;
    std::size_t widest_ = 2;  // of what a layer gives
    std::size_t weights_ = 0;  // bytes
    double work_ = 0;
};

}  // namespace lw
