// Sorted are 64-bit entries: the upper bits of a word and, below them, its position. All entries differ, so no pass has
// to be stable, and 8 bytes move instead of 16. Where the upper bits of neighbours are equal (one pair in 35 permutations
// of a million, n²/2^(65 - log2 n) in general), whole words are made again and decide.
//
// Words are uniform, so two distributions suffice: into bins of 512 to 1024 entries by the uppermost bits, then, within
// the first-level cache, into twice as many bins as there are entries; an insertion sort finds hardly anything to do.
#include "permutation.h"

#include <algorithm>
#include <bit>

namespace lw {
namespace {

constexpr int bin_bits = 10;
constexpr std::size_t scratch_size = std::size_t{2} << bin_bits;

struct Digits {
    int position;       // bits of a position
    int coarse;         // bits that choose the bin
    int fine;           // bits below them, for the order within a bin
    std::uint64_t mask;  // of the position
};

// For n ≥ 2. With n ≤ 2^31 both digits lie above the position: 21 + 11 ≤ 64 - 31. Entries that agree above it, whose
// order is still to be decided, are then never in two bins.
Digits digits_of(std::size_t n) {
    const int position = static_cast<int>(std::bit_width(n - 1));
    const int coarse = std::max(0, position - bin_bits);
    return {position, coarse, position - coarse + 1, (std::uint64_t{1} << position) - 1};
}

// How many of each become where each begins.
template <class Count>
void to_starts(Count* counts, std::size_t n) {
    Count start = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const Count count = counts[i];
        counts[i] = start;
        start = static_cast<Count>(start + count);
    }
}

// y[-1] is below all of y.
void insertion_sort(std::uint64_t* y, std::size_t n) {
    for (std::size_t i = 1; i < n; ++i) {
        const std::uint64_t entry = y[i];
        std::uint64_t* place = y + i;
        for (; place[-1] > entry; --place) *place = place[-1];
        *place = entry;
    }
}

// Entries in ascending order, and runs of equal upper bits among them put in the order of whole words.
void decide_ties(const RandomAddress& address, std::uint64_t mask, std::uint64_t* y, std::size_t n) {
    const Philox philox(address);
    for (std::size_t first = 0, last; first < n; first = last) {
        for (last = first + 1; last < n && (y[last] ^ y[first]) <= mask; ++last) {
        }
        if (last - first == 1) continue;
        std::sort(y + first, y + last, [&](std::uint64_t a, std::uint64_t b) {
            const std::uint64_t p = philox.word(a & mask), q = philox.word(b & mask);
            return p != q ? p < q : a < b;
        });
    }
}

// The positions of the n entries of a bin, in order; the entries are destroyed.
void order_bin(const RandomAddress& address, const Digits d, std::uint64_t* x, std::size_t n, std::uint64_t* out) {
    std::uint64_t scratch[1 + scratch_size];
    scratch[0] = 0;
    std::uint64_t* y = scratch + 1;
    if (n <= scratch_size) {
        const std::size_t bins = std::size_t{1} << d.fine;
        const int shift = 64 - d.coarse - d.fine;
        std::uint16_t counts[scratch_size];
        std::fill_n(counts, bins, 0);
        for (std::size_t i = 0; i < n; ++i) ++counts[x[i] >> shift & (bins - 1)];
        to_starts(counts, bins);
        for (std::size_t i = 0; i < n; ++i) y[counts[x[i] >> shift & (bins - 1)]++] = x[i];
        insertion_sort(y, n);
    } else {  // a bin 32 standard deviations too full
        std::sort(x, x + n);
        y = x;
    }
    std::uint64_t closest = ~std::uint64_t{0};
    for (std::size_t i = 1; i < n; ++i) closest = std::min(closest, y[i] ^ y[i - 1]);
    if (closest <= d.mask) decide_ties(address, d.mask, y, n);
    // Not sorted in place: lines of `out` that come from memory come quicker one after another.
    for (std::size_t i = 0; i < n; ++i) out[i] = y[i] & d.mask;
}

}  // namespace

std::size_t permutation_workspace(std::size_t n) {
    return n < 2 ? 0 : n + (std::size_t{1} << digits_of(n).coarse);
}

void permutation(const RandomAddress& address, std::size_t n, std::int64_t* out, std::uint64_t* workspace) {
    if (n < 2) {
        std::fill_n(out, n, 0);
        return;
    }
    const Philox philox(address);
    const Digits d = digits_of(n);
    std::uint64_t* const order = reinterpret_cast<std::uint64_t*>(out);
    std::uint64_t* const entries = workspace;
    std::uint64_t* const ends = workspace + n;
    const std::size_t bins = std::size_t{1} << d.coarse;
    const auto make = [&](auto take) __attribute__((always_inline)) {
        std::size_t i = 0;
        for (; i + 4 <= n; i += 4) {
            const Philox::Block block = philox.block(i / 4);
            for (int k = 0; k < 4; ++k) take(i + k, (block.word[k] & ~d.mask) | (i + k));
        }
        for (; i < n; ++i) take(i, (philox.word(i) & ~d.mask) | i);
    };
    if (bins == 1) {
        make([&](std::size_t i, std::uint64_t entry) { entries[i] = entry; });
        ends[0] = n;
    } else {
        const int shift = 64 - d.coarse;
        std::fill_n(ends, bins, 0);
        make([&](std::size_t i, std::uint64_t entry) {
            order[i] = entry;
            ++ends[entry >> shift];
        });
        to_starts(ends, bins);
        for (std::size_t i = 0; i < n; ++i) entries[ends[order[i] >> shift]++] = order[i];
    }
    std::size_t start = 0;
    for (std::size_t b = 0; b < bins; ++b) {
        order_bin(address, d, entries + start, ends[b] - start, order + start);
        start = ends[b];
    }
}

}  // namespace lw
