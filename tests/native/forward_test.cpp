// Predicts without Python, so that a sanitizer sees every read and write (make sanitize), and counts what is allocated.
//
// The exit status is not 0 where a check fails or the sanitizer finds something.
#include "forward.h"

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

std::atomic<long> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
    ++allocations;
    void* p = nullptr;
    if (posix_memalign(&p, alignment, size == 0 ? 1 : size) != 0) throw std::bad_alloc();
    return p;
}

void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

}  // namespace

// Not inlined: GCC takes a free of what operator new gave for a mistake.
#define LW_OUTSIDE __attribute__((noinline))
LW_OUTSIDE void* operator new(std::size_t size) { return allocate(size, 16); }
LW_OUTSIDE void* operator new(std::size_t size, std::align_val_t a) { return allocate(size, std::size_t(a)); }
LW_OUTSIDE void operator delete(void* p) noexcept { std::free(p); }
LW_OUTSIDE void operator delete(void* p, std::size_t) noexcept { std::free(p); }
LW_OUTSIDE void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
LW_OUTSIDE void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

using lw::Forward;
using lw::Isa;
using lw::Element;

std::mt19937 generator(1);

// Exactly as large as asked for, so that one element too many is seen.
template <class T>
std::unique_ptr<T[]> normal(std::size_t n) {
    std::unique_ptr<T[]> values(new T[n]);
    std::normal_distribution<double> draw;
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(draw(generator));
    return values;
}

template <class T>
std::unique_ptr<Forward<T>> network(Isa isa, const std::vector<std::size_t>& widths, const char* last) {
    auto forward = std::make_unique<Forward<T>>(isa);
    for (std::size_t l = 1; l < widths.size(); ++l) {
        const bool end = l + 1 == widths.size();
        const auto W = normal<T>(widths[l - 1] * widths[l]), b = normal<T>(widths[l]);
        forward->add(W.get(), l % 2 == 0 ? nullptr : b.get(), widths[l - 1], widths[l], end ? last : "relu", nullptr, 0);
    }
    return forward;
}

template <class T>
void shapes(Isa isa) {
    const std::size_t rows[] = {1, 2, 3, 5, 6, 7, 47, 48, 49, 97, 200, 700};
    for (const char* last : {"softmax", "log_softmax", "sigmoid", "identity", "sigmoid_pair"}) {
        for (std::size_t width : {1, 2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 33, 64, 65, 127, 700, 2049}) {
            if (std::string(last) == "sigmoid_pair" && width != 1) continue;
            const std::size_t inputs = 1 + generator() % 40;
            const auto forward = network<T>(isa, {inputs, 1 + generator() % 70, width}, last);
            for (std::size_t n : rows) {
                if (n * width > 200000) continue;
                const std::size_t columns = forward->outputs();
                auto X = normal<T>(n * inputs);
                std::unique_ptr<T[]> out(new T[n * columns]), again(new T[n * columns]);
                std::unique_ptr<std::int64_t[]> labels(new std::int64_t[n]);
                const typename Forward<T>::Rows all{X.get(), lw::element_of<T>, n};
                check(forward->checked(all, out.get(), 3), "finite rows are accepted");
                check(forward->classes(all, labels.get(), 3), "finite rows have classes");
                for (std::size_t r = 0; r < n; ++r) {
                    const T* const a = out.get() + r * columns;
                    std::size_t best = 0;
                    for (std::size_t k = 1; k < columns; ++k) best = a[k] > a[best] ? k : best;
                    check(labels[r] == static_cast<std::int64_t>(best), "the class is the largest output");
                    forward->run(X.get() + r * inputs, 1, again.get() + r * columns, 1);
                }
                check(std::memcmp(out.get(), again.get(), n * columns * sizeof(T)) == 0, "a row alone has the same bits");
                X[generator() % (n * inputs)] = std::numeric_limits<T>::quiet_NaN();
                check(!forward->checked(all, out.get(), 3), "NaN is found");
                X[generator() % (n * inputs)] = -std::numeric_limits<T>::infinity();
                check(!forward->classes(all, labels.get(), 3), "an infinity is found");
            }
        }
    }
}

// Rows of other numbers than T have the bits of those rows converted one by one.
template <class T, class S>
void converted(Isa isa, Element element, double scale) {
    const auto forward = network<T>(isa, {37, 20, 4}, "softmax");
    const std::size_t n = 131;
    std::unique_ptr<S[]> X(new S[n * 37]);
    std::unique_ptr<T[]> same(new T[n * 37]), out(new T[n * 4]), expected(new T[n * 4]);
    std::uniform_real_distribution<double> draw(std::numeric_limits<S>::lowest() < S(0) ? -scale : 0, scale);
    for (std::size_t i = 0; i < n * 37; ++i) same[i] = static_cast<T>(X[i] = static_cast<S>(draw(generator)));
    check(forward->checked({X.get(), element, n}, out.get(), 2), "other numbers are accepted");
    forward->run(same.get(), n, expected.get(), 1);
    check(std::memcmp(out.get(), expected.get(), n * 4 * sizeof(T)) == 0, "other numbers are converted");
}

template <class T>
void numbers(Isa isa) {
    converted<T, float>(isa, Element::float32, 3);
    converted<T, double>(isa, Element::float64, 3);
    converted<T, std::int8_t>(isa, Element::int8, 127);
    converted<T, std::int16_t>(isa, Element::int16, 32767);
    converted<T, std::int32_t>(isa, Element::int32, 2e9);
    converted<T, std::int64_t>(isa, Element::int64, 9e18);
    converted<T, std::uint8_t>(isa, Element::uint8, 255);
    converted<T, std::uint16_t>(isa, Element::uint16, 65535);
    converted<T, std::uint32_t>(isa, Element::uint32, 4e9);
    converted<T, std::uint64_t>(isa, Element::uint64, 1.8e19);
}

// One row, and a few, allocate nothing.
template <class T>
void no_allocation(Isa isa) {
    for (const std::vector<std::size_t>& widths :
         {std::vector<std::size_t>{64, 64, 10}, {784, 128, 10}, {28, 256, 256, 256, 1}, {2, 2000, 3}}) {
        const char* const last = widths.back() == 1 ? "sigmoid_pair" : "softmax";
        const auto forward = network<T>(isa, widths, last);
        const auto X = normal<T>(4 * widths.front());
        const auto other = normal<double>(4 * widths.front());
        T out[4 * 10];
        std::int64_t labels[4];
        const long before = allocations;
        for (std::size_t n = 1; n <= (widths[1] > 1000 ? 1 : 4); ++n) {
            check(forward->checked({X.get(), lw::element_of<T>, n}, out, 1), "accepted");
            check(forward->checked({other.get(), Element::float64, n}, out, 1), "accepted");
            check(forward->classes({X.get(), lw::element_of<T>, n}, labels, 1), "accepted");
        }
        check(allocations == before, "a call with few rows allocates nothing");
    }
}

// Many threads in one network at once.
template <class T>
void many_callers(Isa isa) {
    const auto forward = network<T>(isa, {50, 60, 10}, "softmax");
    const std::size_t n = 2000;
    const auto X = normal<T>(n * 50);
    std::vector<T> expected(n * 10);
    forward->run(X.get(), n, expected.data(), 1);
    std::atomic<bool> same{true};
    std::vector<std::thread> callers;
    for (int c = 0; c < 6; ++c) {
        callers.emplace_back([&, c] {
            std::vector<T> out(n * 10);
            for (int i = 0; i < 10; ++i) {
                forward->checked({X.get(), lw::element_of<T>, n}, out.data(), 1 + c);
                if (out != expected) same = false;
                forward->checked({X.get() + 50 * i, lw::element_of<T>, 1}, out.data(), 1);
                if (std::memcmp(out.data(), expected.data() + 10 * i, 10 * sizeof(T)) != 0) same = false;
            }
        });
    }
    for (std::thread& t : callers) t.join();
    check(same, "many callers at once get the same bits");
}

// Few rows of a large network: threads share the columns of its layers.
template <class T>
void shared_columns(Isa isa) {
    const auto forward = network<T>(isa, {300, 1200, 700, 1}, "sigmoid_pair");
    for (const std::size_t n : {1, 2, 7, 13, 30}) {
        const auto X = normal<T>(n * 300);
        std::unique_ptr<T[]> out(new T[n * 2]), expected(new T[n * 2]);
        std::unique_ptr<std::int64_t[]> labels(new std::int64_t[n]);
        forward->run(X.get(), n, expected.get(), 1);
        for (const int threads : {2, 5, 16}) {
            check(forward->checked({X.get(), lw::element_of<T>, n}, out.get(), threads), "accepted");
            check(forward->classes({X.get(), lw::element_of<T>, n}, labels.get(), threads), "accepted");
            check(std::memcmp(out.get(), expected.get(), n * 2 * sizeof(T)) == 0, "shared columns have the same bits");
            for (std::size_t r = 0; r < n; ++r) check(labels[r] == (out[2 * r + 1] > out[2 * r]), "the larger one");
        }
    }
}

template <class T>
void everything(Isa isa) {
    shared_columns<T>(isa);
    shapes<T>(isa);
    numbers<T>(isa);
    no_allocation<T>(isa);
    many_callers<T>(isa);
}

}  // namespace

int main() {
    for (int i = 0; i < lw::isa_count; ++i) {
        const Isa isa = static_cast<Isa>(i);
        if (!lw::isa_available(isa)) continue;
        everything<float>(isa);
        everything<double>(isa);
        std::printf("%s: all checks hold\n", lw::isa_name(isa));
    }
}
