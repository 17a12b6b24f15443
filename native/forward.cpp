#include "forward.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "threads.h"

namespace lw {
namespace {

constexpr std::align_val_t cache_line{64};
constexpr std::size_t panel_tiles = 8;           // tiles of rows in a panel: about 100 rows
constexpr std::size_t stack_elements = 8192;     // two buffers of one row 4096 wide

template <class T>
const ArrayFunction<T>* functions(const MathTable& table) {
    if constexpr (sizeof(T) == 4) {
        return table.float32;
    } else {
        return table.float64;
    }
}

int find_unary(std::string_view name) {
    for (int i = 0; i < unary_count; ++i) {
        if (name == unary_facts[i].name) return i;
    }
    return -1;
}

}  // namespace

template <class T>
void Forward<T>::Release::operator()(T* p) const {
    ::operator delete[](p, cache_line);
}

template <class T>
Forward<T>::Forward(Isa isa) : products_(products<T>(isa)), math_(math_table(isa)) {}

template <class T>
void Forward<T>::add(const T* W, const T* b, std::size_t in, std::size_t out, std::string_view function,
                     const T* options, int option_count) {
    if (!layers_.empty() && in != outputs()) {
        throw std::invalid_argument("a layer of " + std::to_string(in) + " inputs cannot follow one of " +
                                    std::to_string(outputs()) + " outputs");
    }
    Layer layer{in, out, nullptr, {}, Epilogue::none, nullptr, {}, Row::none};
    int wanted = 0;
    if (function == "softmax" || function == "log_softmax") {
        if (out == 0) throw std::invalid_argument("softmax needs at least one output");
        layer.row = function == "softmax" ? Row::softmax : Row::log_softmax;
    } else if (function != "identity") {
        const int unary = find_unary(function);
        if (unary < 0) throw std::invalid_argument("no native function " + std::string(function));
        wanted = unary_facts[unary].options;
        // relu has a place in the product's epilogue, on the tile that is still in registers.
        if (function != "relu" || b == nullptr) layer.function = functions<T>(math_)[unary];
    }
    if (option_count != wanted || wanted > max_options) {
        throw std::invalid_argument(std::string(function) + " takes " + std::to_string(wanted) + " options; got " +
                                    std::to_string(option_count));
    }
    std::copy_n(options, option_count, layer.options.begin());
    if (b != nullptr) {
        layer.bias.assign(b, b + out);
        layer.epilogue = function == "relu" ? Epilogue::bias_relu : Epilogue::bias;
    }
    const std::size_t size = std::max<std::size_t>(products_.packed_size(in, out), 1);
    layer.packed.reset(static_cast<T*>(::operator new[](size * sizeof(T), cache_line)));
    products_.pack(W, out, in, out, 0, products_.block_count(out), layer.packed.get());
    layers_.push_back(std::move(layer));
}

template <class T>
std::size_t Forward<T>::widest() const {
    std::size_t width = 1;
    for (const Layer& layer : layers_) width = std::max(width, layer.out);
    return width;
}

template <class T>
void Forward<T>::softmax(T* Z, std::size_t rows, std::size_t width, bool logarithm) const {
    const ArrayFunction<T> exp = functions<T>(math_)[static_cast<int>(Unary::Exp)];
    const ArrayFunction<T> log1p = functions<T>(math_)[static_cast<int>(Unary::Log1p)];
    T small[256];
    std::vector<T> large(logarithm && width > 256 ? width : 0);
    T* const e = large.empty() ? small : large.data();
    for (std::size_t r = 0; r < rows; ++r) {
        T* const z = Z + r * width;
        std::size_t top = 0;
        for (std::size_t k = 1; k < width; ++k) {
            if (z[k] > z[top] || z[k] != z[k]) top = k;  // a NaN is found, and spreads to the whole row
            if (z[top] != z[top]) break;
        }
        const T shift = z[top];
        for (std::size_t k = 0; k < width; ++k) z[k] -= shift;
        T sum = 0;
        if (!logarithm) {
            exp(z, z, width, nullptr);
            for (std::size_t k = 0; k < width; ++k) sum += z[k];
            for (std::size_t k = 0; k < width; ++k) z[k] /= sum;
            continue;
        }
        exp(z, e, width, nullptr);
        for (std::size_t k = 0; k < width; ++k) sum += k == top ? T(0) : e[k];
        log1p(&sum, &sum, 1, nullptr);  // log of the sum less its largest term, which is 1
        for (std::size_t k = 0; k < width; ++k) z[k] -= sum;
    }
}

template <class T>
void Forward<T>::panel(const T* X, std::size_t rows, T* out, T* work, std::size_t widest) const {
    const T* A = X;
    T* spare[2] = {work, work + rows * widest};
    for (std::size_t l = 0; l < layers_.size(); ++l) {
        const Layer& layer = layers_[l];
        T* const Z = l + 1 == layers_.size() ? out : spare[l % 2];
        Product<T> product{A, layer.in, layer.packed.get(), layer.in, layer.out, 0, rows, 0,
                           products_.block_count(layer.out), layer.bias.data(), layer.epilogue, Z, layer.out};
        products_.multiply(product);
        if (layer.function != nullptr) layer.function(Z, Z, rows * layer.out, layer.options.data());
        if (layer.row != Row::none) softmax(Z, rows, layer.out, layer.row == Row::log_softmax);
        A = Z;
    }
}

template <class T>
void Forward<T>::run(const T* X, std::size_t n, T* out, int threads) const {
    if (n == 0 || layers_.empty()) return;
    const std::size_t rows = std::min(n, products_.tile_rows * panel_tiles);
    const std::size_t panels = (n + rows - 1) / rows;
    const std::size_t wide = widest();
    double flops = 0;
    for (const Layer& layer : layers_) flops += 2.0 * static_cast<double>(layer.in) * static_cast<double>(layer.out);
    const int useful = threads_for(flops * static_cast<double>(n), threads);
    const int team = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(std::max(useful, 1)), panels));
    Pool::run(team, [&](int index, int count) {
        alignas(64) T near_by[stack_elements / (sizeof(T) / 4)];
        std::unique_ptr<T[], Release> far;
        T* work = near_by;
        if (2 * rows * wide > sizeof near_by / sizeof(T)) {
            far.reset(static_cast<T*>(::operator new[](2 * rows * wide * sizeof(T), cache_line)));
            work = far.get();
        }
        for (std::size_t p = static_cast<std::size_t>(index); p < panels; p += static_cast<std::size_t>(count)) {
            const std::size_t first = p * rows;
            panel(X + first * inputs(), std::min(rows, n - first), out + first * outputs(), work, wide);
        }
    });
}

template class Forward<float>;
template class Forward<double>;

}  // namespace lw
