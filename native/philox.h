// Random words that depend on their address only, bit for bit those of layerwise.randomness (its text is the recipe):
// Philox4x64-10 of Salmon, Moraes, Dror and Shaw (2011) with the key (seed, stream) and the counter (j, index, 0, 0).
// Any word can be made alone, so threads may each make a part, and no state is shared.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lw {

struct RandomAddress {
    std::uint64_t seed;
    std::uint64_t stream;  // what the numbers are for, numbered in randomness.py
    std::uint64_t index;   // what counts within the stream: the layer, the epoch, …
};

// Words first, …, first + n - 1 of an address. 2.1 ns a word: 18 products of 64 bits for four of them. (On AVX-512 the
// same with 32-bit products took 1.9 ns, which is not worth a file for each instruction set.)
void random_words(const RandomAddress& address, std::uint64_t first, std::size_t n, std::uint64_t* out);

// The blocks of four words that an address has.
class Philox {
public:
    struct Block {
        std::uint64_t word[4];
    };

    explicit Philox(const RandomAddress& address) : index_(address.index) {
        std::uint64_t k0 = address.seed, k1 = address.stream;
        for (auto& key : keys_) {
            key[0] = k0;
            key[1] = k1;
            k0 += 0x9E3779B97F4A7C15;
            k1 += 0xBB67AE8584CAA73B;
        }
    }

    // Words 4 j … 4 j + 3. Inlined and unrolled, so that the compiler sees that counter words 2 and 3 are 0 and leaves
    // out one product in each of the first two rounds.
    __attribute__((always_inline)) inline Block block(std::uint64_t j) const {
        std::uint64_t c0 = j, c1 = index_, c2 = 0, c3 = 0;
#pragma GCC unroll 10
        for (int r = 0; r < rounds; ++r) {
            const Wide p0 = multiply(0xD2E7470EE14C6C93, c0), p1 = multiply(0xCA5A826395121157, c2);
            c0 = p1.high ^ c1 ^ keys_[r][0];
            c1 = p1.low;
            c2 = p0.high ^ c3 ^ keys_[r][1];
            c3 = p0.low;
        }
        return {{c0, c1, c2, c3}};
    }

    std::uint64_t word(std::uint64_t i) const { return block(i / 4).word[i % 4]; }

private:
    static constexpr int rounds = 10;

    struct Wide {
        std::uint64_t high, low;
    };

    static Wide multiply(std::uint64_t a, std::uint64_t b) {
#if defined(__SIZEOF_INT128__)
        const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
        return {static_cast<std::uint64_t>(product >> 64), static_cast<std::uint64_t>(product)};
#else
        const std::uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
        const std::uint64_t low = a0 * b0, left = a1 * b0 + (low >> 32), right = a0 * b1 + (left & 0xFFFFFFFF);
        return {a1 * b1 + (left >> 32) + (right >> 32), a * b};
#endif
    }

    std::uint64_t index_;
    std::uint64_t keys_[rounds][2];
};

}  // namespace lw
