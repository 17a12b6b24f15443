#include "forward.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "pool.h"
#include "threads.h"

namespace lw {
namespace {

constexpr std::align_val_t cache_line{64};
constexpr std::size_t panel_tiles = 8;  // tiles of rows in a panel: about 50 rows; 4 to 32 make no difference
constexpr std::size_t few_panels = 8, shares_of_layer = 4;  // for each thread
constexpr std::size_t stack_bytes = std::size_t{32} << 10;  // for each thread: two buffers of one row 4096 wide
constexpr std::size_t near_weights = std::size_t{16} << 20;  // bytes that stay in a cache
constexpr double function_work = 32;                         // of one element

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

std::size_t rounded_up(std::size_t n, std::size_t step) { return (n + step - 1) / step * step; }

}  // namespace

template <class T>
struct Forward<T>::Call {
    Rows X;
    bool check;
    T* out;                // or null
    std::int64_t* labels;  // or null
};

template <class T>
double Forward<T>::Layer::work() const {
    const bool plain = function == nullptr && row == Row::none;
    return (2.0 * static_cast<double>(in) + (plain ? 0 : function_work)) * static_cast<double>(width);
}

template <class T>
void Forward<T>::Release::operator()(T* p) const {
    ::operator delete[](p, cache_line);
}

template <class T>
Forward<T>::Forward(Isa isa)
    : products_(products<T>(isa)),
      math_(math_table(isa)),
      gather_(gather<T>(isa)),
      rows_(row_kernels<T>(isa)),
      wide_rows_(row_kernels<double>(isa)) {}

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
    } else if (function == "sigmoid_pair") {
        if (out != 1) throw std::invalid_argument("sigmoid_pair needs one output");
        layer.row = Row::sigmoid_pair;
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
    work_ += layer.work();
    weights_ += size * sizeof(T);
    widest_ = std::max(widest_, out);
    layers_.push_back(std::move(layer));
}

// f(A·W + b) where f is elementwise, else A·W + b; the columns shared out where that deserves several threads.
template <class T>
void Forward<T>::compute(const Layer& layer, const T* A, std::size_t rows, T* Z, int threads) const {
    const std::size_t blocks = products_.block_count(layer.width);
    const auto columns = [&](std::size_t first, std::size_t last) {
        products_.multiply({A, layer.in, layer.packed.get(), layer.in, layer.width, 0, rows, first, last,
                            layer.bias.data(), layer.epilogue, Z, layer.width});
        if (layer.function == nullptr) return;
        if (last - first == blocks) return layer.function(Z, Z, rows * layer.width, layer.options.data());
        const std::size_t from = first * products_.block, to = std::min(last * products_.block, layer.width);
        for (T* z = Z + from; z < Z + rows * layer.width; z += layer.width) {
            layer.function(z, z, to - from, layer.options.data());
        }
    };
    const std::size_t useful = static_cast<std::size_t>(threads_for(layer.work() * static_cast<double>(rows), threads));
    const std::size_t team = std::min(blocks, useful);
    if (threads <= 1 || team <= 1) return columns(0, blocks);
    const std::size_t share = std::max<std::size_t>(blocks / (team * shares_of_layer), 1);
    std::atomic<std::size_t> next{0};
    Pool::run(static_cast<int>(team), [&](int, int) {
        for (std::size_t b; (b = next.fetch_add(share, std::memory_order_relaxed)) < blocks;) {
            columns(b, std::min(b + share, blocks));
        }
    });
}

// The rest of f, of whole rows. Z is A, or its end where a row of A is longer than one of Z.
template <class T>
void Forward<T>::finish(const Layer& layer, const T* Z, std::size_t rows, T* A) const {
    switch (layer.row) {
        case Row::none:
            return;
        case Row::softmax:
            return rows_.softmax(A, layer.width, A, layer.width, rows, 1, layer.width);
        case Row::log_softmax:
            return rows_.log_softmax(A, layer.width, A, layer.width, rows, 1, layer.width);
        case Row::sigmoid_pair:
            for (std::size_t r = 0; r < rows; ++r) {
                const T z = Z[r];
                A[2 * r] = -z;
                A[2 * r + 1] = z;
            }
            return functions<T>(math_)[static_cast<int>(Unary::Sigmoid)](A, A, 2 * rows, nullptr);
    }
}

// All layers of some rows. `work`: two buffers of rows · widest, and rows · inputs where X holds other numbers than T.
template <class T>
bool Forward<T>::panel(const Call& call, std::size_t first, std::size_t rows, T* work, int threads) const {
    const std::size_t count = rows * inputs();
    const Element element = call.X.element;
    const std::size_t bytes = element_bytes[static_cast<std::size_t>(element)];
    const void* const X = static_cast<const char*>(call.X.data) + first * inputs() * bytes;
    constexpr T largest = std::numeric_limits<T>::max();
    T* const spare[2] = {work, work + rows * widest_};
    const T* A = static_cast<const T*>(X);
    const bool convert = element != element_of<T>;
    if (convert) {
        T* const converted = work + 2 * rows * widest_;
        const Source flat{X, element, static_cast<std::ptrdiff_t>(count * bytes), static_cast<std::ptrdiff_t>(bytes),
                          count};
        gather_.range(flat, 0, 1, converted, count);
        // Doubles as they came: what lies just above the largest float is rounded to it.
        const bool fits = element == Element::float64
                              ? wide_rows_.within(static_cast<const double*>(X), count, largest)
                              : is_integer(element) || rows_.within(converted, count, largest);
        if (!fits) return false;
        A = converted;
    }
    for (std::size_t l = 0; l < layers_.size(); ++l) {
        const Layer& layer = layers_[l];
        const bool last = l + 1 == layers_.size();
        T* const to = last && call.out != nullptr ? call.out + first * outputs() : spare[l % 2];
        T* const Z = to + rows * (layer.out() - layer.width);
        compute(layer, A, rows, Z, threads);
        // After the product, which computes while the rows come from memory: a pass before it would wait for them.
        if (l == 0 && call.check && !convert && !rows_.within(A, count, largest)) return false;
        finish(layer, Z, rows, to);
        A = to;
    }
    if (call.labels != nullptr) rows_.argmax(A, outputs(), call.labels + first, rows, outputs());
    return true;
}

// Memory for some rows: on the stack where it suffices.
template <class T>
struct Forward<T>::Work {
    alignas(64) T near_by[stack_bytes / sizeof(T)];
    std::unique_ptr<T[], Release> far;

    T* get(std::size_t size) {
        if (size <= sizeof near_by / sizeof(T)) return near_by;
        far.reset(static_cast<T*>(::operator new[](size * sizeof(T), cache_line)));
        return far.get();
    }
};

template <class T>
bool Forward<T>::start(const Call& call, int threads) const {
    const std::size_t n = call.X.n;
    if (n == 0 || layers_.empty()) return true;
    const int useful = std::max(threads_for(work_ * static_cast<double>(n), threads), 1);
    const std::size_t tile = products_.tile_rows, team = static_cast<std::size_t>(useful);
    const std::size_t row_work = 2 * widest_ + (call.X.element == element_of<T> ? 0 : inputs());
    // With less than a tile of rows for each thread they share the columns. So they do with less than a panel for each
    // where the weights come from memory, of which each thread then reads its part only. Elsewhere rows are better:
    // 784-512-512-10, 24 rows on two threads, takes 144 µs by rows and 168 by columns.
    if (n <= tile || n < tile * team * (weights_ > near_weights ? panel_tiles : 1)) {
        Work work;
        return panel(call, 0, n, work.get(n * row_work), useful);
    }
    // As many panels as rows ask for; of few panels as many for each thread.
    std::size_t panels = (n + tile * panel_tiles - 1) / (tile * panel_tiles);
    if (panels < few_panels * team) panels = rounded_up(panels, team);
    const std::size_t rows = rounded_up((n + panels - 1) / panels, tile);
    panels = (n + rows - 1) / rows;
    std::atomic<std::size_t> next{0};
    std::atomic<bool> good{true};
    Pool::run(static_cast<int>(std::min(team, panels)), [&](int, int) {
        Work work;
        T* const memory = work.get(rows * row_work);
        // Handed out one by one: a thread whose processor is taken away does not keep the others waiting.
        for (std::size_t p; (p = next.fetch_add(1, std::memory_order_relaxed)) < panels;) {
            if (!good.load(std::memory_order_relaxed)) return;
            const std::size_t first = p * rows;
            if (!panel(call, first, std::min(rows, n - first), memory, 1)) good.store(false, std::memory_order_relaxed);
        }
    });
    return good.load(std::memory_order_relaxed);
}

template <class T>
bool Forward<T>::checked(const Rows& X, T* out, int threads) const {
    return start({X, true, out, nullptr}, threads);
}

template <class T>
bool Forward<T>::classes(const Rows& X, std::int64_t* labels, int threads) const {
    return start({X, true, nullptr, labels}, threads);
}

template <class T>
void Forward<T>::run(const T* X, std::size_t n, T* out, int threads) const {
    start({{X, element_of<T>, n}, false, out, nullptr}, threads);
}

template class Forward<float>;
template class Forward<double>;

}  // namespace lw
