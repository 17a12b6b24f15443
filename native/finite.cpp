#include "finite.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "pool.h"
#include "threads.h"

namespace lw {
namespace {

constexpr std::size_t piece = std::size_t{1} << 14;  // elements between two looks at what other threads have found

// Integers, of which the compiler takes many at once: without its sign a number is larger than the limit where adding
// what the limit lacks of the largest integer carries into the place of the sign.
template <class Bits>
bool within(const char* x, std::size_t n, Bits limit) {
    constexpr Bits magnitude = std::numeric_limits<Bits>::max() >> 1;
    const Bits lacks = static_cast<Bits>(magnitude - limit);
    Bits found = 0;
    for (std::size_t i = 0; i < n; ++i) {
        Bits bits;
        std::memcpy(&bits, x + i * sizeof bits, sizeof bits);
        found = static_cast<Bits>(found | static_cast<Bits>((bits & magnitude) + lacks));
    }
    return found <= magnitude;
}

bool within(const char* x, std::size_t bytes_each, std::size_t n, Precision precision) {
    using Float = std::numeric_limits<float>;
    using Double = std::numeric_limits<double>;
    switch (bytes_each) {
        case 2:
            return within<std::uint16_t>(x, n, 0x7bff);  // 65504
        case 4:
            return within<std::uint32_t>(x, n, std::bit_cast<std::uint32_t>(Float::max()));
        default:
            return within<std::uint64_t>(
                x, n,
                std::bit_cast<std::uint64_t>(precision == Precision::single ? double{Float::max()} : Double::max()));
    }
}

}  // namespace

bool all_finite(const void* x, std::size_t bytes_each, std::size_t n, Precision precision, int threads) {
    // A byte comes from memory in the time of some three operations of the 30 a nanosecond that threads_for counts in.
    const int used = threads_for(3.0 * static_cast<double>(n * bytes_each), threads);
    std::atomic<bool> finite{true};
    Pool::run(used, [&](int index, int count) {
        const std::size_t each = n / static_cast<std::size_t>(count), first = each * static_cast<std::size_t>(index);
        const std::size_t last = index + 1 == count ? n : first + each;
        for (std::size_t i = first; i < last && finite.load(std::memory_order_relaxed); i += piece) {
            const char* const from = static_cast<const char*>(x) + i * bytes_each;
            if (!within(from, bytes_each, std::min(piece, last - i), precision)) finite = false;
        }
    });
    return finite;
}

}  // namespace lw
