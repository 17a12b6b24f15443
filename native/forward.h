// A chain of dense layers made ready to predict: weights packed once, then any number of rows from any thread.
//
// Rows are computed in panels, all layers of a panel before the next one, so that what lies between two layers stays
// in cache. A row's bits depend on the row and the weights only: not on the rows beside it, nor on the threads.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "isa.h"
#include "math_table.h"
#include "product.h"

namespace lw {

constexpr int max_options = 4;

template <class T>
class Forward {
public:
    explicit Forward(Isa isa);
    Forward(const Forward&) = delete;
    Forward& operator=(const Forward&) = delete;

    // A further layer f(A·W + b): W (in, out) row-major, b (out) or null, all copied. `function` is a name of
    // kernels.def, "identity", "softmax" or "log_softmax"; std::invalid_argument for another name, another number of
    // options, or a width that is not that of the layer before.
    void add(const T* W, const T* b, std::size_t in, std::size_t out, std::string_view function, const T* options,
             int option_count);

    std::size_t inputs() const { return layers_.empty() ? 0 : layers_.front().in; }
    std::size_t outputs() const { return layers_.empty() ? 0 : layers_.back().out; }

    // X (n, inputs) to out (n, outputs), both without gaps, on at most `threads` threads. Needs no memory for few rows
    // of moderate width.
    void run(const T* X, std::size_t n, T* out, int threads) const;

private:
    enum class Row { none, softmax, log_softmax };

    struct Release {
        void operator()(T* p) const;
    };

    struct Layer {
        std::size_t in, out;
        std::unique_ptr<T[], Release> packed;
        std::vector<T> bias;
        Epilogue epilogue;
        ArrayFunction<T> function;  // null: nothing further to do
        std::array<T, max_options> options;
        Row row;
    };

    void panel(const T* X, std::size_t rows, T* out, T* work, std::size_t widest) const;
    void softmax(T* Z, std::size_t rows, std::size_t width, bool logarithm) const;
    std::size_t widest() const;

    const Products<T>& products_;
    const MathTable& math_;
    std::vector<Layer> layers_;
};

}  // namespace lw
