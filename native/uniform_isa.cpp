// The kernels of uniform.h for one instruction set.
//
// A lane of 64 bits is one block: its lower half holds a word of the counter, and what stands above it is never read,
// since products take lower halves. So a round is two products, two shifts and two exclusive ors for each vector, and
// nothing moves between lanes.
#include <type_traits>

#include "simd.h"
#include "uniform.h"

#if LW_ISA == 0 && defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace lw::LW_NAMESPACE {
namespace {

typedef std::uint32_t U32 __attribute__((vector_size(LW_VECTOR_BYTES)));
typedef std::uint64_t U64 __attribute__((vector_size(LW_VECTOR_BYTES)));

constexpr int rounds = 10, words = 4;
constexpr int lanes = LW_VECTOR_BYTES / 8;
constexpr int group = 2 * lanes;  // blocks made together: two chains of products, which wait for each other's results
constexpr std::size_t chunk = 128;  // blocks whose numbers are held; with their pieces they stay in the first cache
constexpr std::uint64_t low_half = 0xFFFFFFFF;

constexpr int pieces_of(int bits) { return bits == 16 ? 8 : 4; }

LW_INLINE U64 broadcast(std::uint64_t x) { return x - U64{}; }

// Of the lower halves.
LW_INLINE U64 multiply(U64 a, U64 b) {
#if LW_ISA == 2
    // Without the mask, of which nothing is left, GCC 12 warns of a variable in its own header.
    return reinterpret_cast<U64>(
        _mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
#elif LW_ISA == 1
    return reinterpret_cast<U64>(_mm256_mul_epu32(reinterpret_cast<__m256i>(a), reinterpret_cast<__m256i>(b)));
#elif defined(__SSE2__)
    return reinterpret_cast<U64>(_mm_mul_epu32(reinterpret_cast<__m128i>(a), reinterpret_cast<__m128i>(b)));
#else
    return (a & low_half) * (b & low_half);
#endif
}

// What all blocks of a matrix share.
struct Common {
    U64 key[rounds][2];
    U64 stream, step_low, step_high;

    explicit Common(const UniformAddress& a) {
        auto k0 = static_cast<std::uint32_t>(a.seed), k1 = static_cast<std::uint32_t>(a.seed >> 32);
        for (auto& k : key) {
            k[0] = broadcast(k0);
            k[1] = broadcast(k1);
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }
        stream = broadcast(static_cast<std::uint64_t>(a.stream) << 16);
        step_low = broadcast(a.step & low_half);
        step_high = broadcast(a.step >> 32);
    }
};

// The words of two vectors of blocks, in the lower halves.
struct Words {
    U64 a[words], b[words];
};

LW_INLINE void one_round(U64 (&c)[words], const U64 (&key)[2]) {
    const U64 p0 = multiply(broadcast(0xD2511F53), c[0]), p1 = multiply(broadcast(0xCD9E8D57), c[2]);
    c[0] = (p1 >> 32) ^ c[1] ^ key[0];
    c[1] = p1;
    c[2] = (p0 >> 32) ^ c[3] ^ key[1];
    c[3] = p0;
}

LW_INLINE Words philox(const Common& common, U64 a, U64 b) {
    Words w{{a, (a >> 32) | common.stream, common.step_low, common.step_high},
            {b, (b >> 32) | common.stream, common.step_low, common.step_high}};
#pragma GCC unroll 10
    for (int r = 0; r < rounds; ++r) {
        one_round(w.a, common.key[r]);
        one_round(w.b, common.key[r]);
    }
    return w;
}

// What becomes of a number before it is stored.
struct AsItIs {
    template <class V>
    LW_INLINE V operator()(V u) const {
        return u;
    }
};

template <class T>
struct Masked {
    using V = std::conditional_t<sizeof(T) == 4, F32, F64>;
    V threshold, factor;

    explicit Masked(const UniformMask<T>& m) : threshold(m.threshold - V{}), factor(m.factor - V{}) {}
    LW_INLINE V operator()(V u) const { return u >= threshold ? factor : V{}; }
};

// Which blocks of a group the lanes hold, and how `bits` bits of each become numbers: under the exponent of a power of
// two whose last place is 2^-bits, less that power. Both are exact.
template <class T>
struct Numbers;

template <>
struct Numbers<float> {
    // Even and odd ones, so that the lower halves of both interleave to blocks in their order.
    static constexpr int a_first = 0, b_first = 1, step = 2;

    template <int bits, class Finish>
    LW_INLINE static void store_word(float* to, std::size_t piece, U64 a, U64 b, const Finish& finish) {
        const U32 w = reinterpret_cast<U32>((a & low_half) | (b << 32));
        if constexpr (bits == 16) {
            store(to, finish(number(w & 0xFFFF)));
            store(to + piece, finish(number(w >> 16)));
        } else {
            // One bit more than a float has below its first.
            store(to, finish(__builtin_convertvector(reinterpret_cast<I32>(w >> 8), F32) * 0x1p-24f));
        }
    }

private:
    LW_INLINE static F32 number(U32 half) { return reinterpret_cast<F32>(half | 0x43000000u) - 0x1p7f; }
};

template <>
struct Numbers<double> {
    static constexpr int a_first = 0, b_first = lanes, step = 1;

    template <int bits, class Finish>
    LW_INLINE static void store_word(double* to, std::size_t piece, U64 a, U64 b, const Finish& finish) {
        if constexpr (bits == 16) {
            store(to, finish(number<16>(a & 0xFFFF)));
            store(to + lanes, finish(number<16>(b & 0xFFFF)));
            store(to + piece, finish(number<16>((a >> 16) & 0xFFFF)));
            store(to + piece + lanes, finish(number<16>((b >> 16) & 0xFFFF)));
        } else {
            store(to, finish(number<24>((a >> 8) & 0xFFFFFF)));
            store(to + lanes, finish(number<24>((b >> 8) & 0xFFFFFF)));
        }
    }

private:
    template <int bits>
    LW_INLINE static F64 number(U64 x) {
        constexpr std::uint64_t exponent = 1023 + 52 - bits;
        constexpr auto power = static_cast<double>(std::uint64_t{1} << (52 - bits));
        return reinterpret_cast<F64>(x | exponent << 52) - power;
    }
};

// The numbers of a chunk: for each piece those of its blocks, one after another, and room for whole vectors.
template <class T, int bits>
struct Chunk {
    static constexpr std::size_t stride = chunk + width<T>;
    alignas(64) T numbers[pieces_of(bits) * stride];

    template <class Finish>
    void make(const Common& common, std::size_t first, std::size_t blocks, const Finish& finish) {
        using N = Numbers<T>;
        U64 lane;
        for (int i = 0; i < lanes; ++i) lane[i] = static_cast<std::uint64_t>(N::step * i);
        for (std::size_t j = 0; j < blocks; j += group) {
            const U64 at = broadcast(first + j) + lane;
            const Words w = philox(common, at + N::a_first, at + N::b_first);
#pragma GCC unroll 4
            for (int k = 0; k < words; ++k) {
                T* const to = numbers + static_cast<std::size_t>(k * pieces_of(bits) / words) * stride + j;
                N::template store_word<bits>(to, stride, w.a[k], w.b[k], finish);
            }
        }
    }

    // n numbers of piece p from block i of the chunk on. The next `room` places may be written.
    LW_INLINE void copy(std::size_t p, std::size_t i, T* to, std::size_t n, std::size_t room) const {
        const T* const from = numbers + p * stride + i;
        if (n == 1) {
            *to = *from;
            return;
        }
        for (std::size_t k = 0; k < n; k += width<T>) {
            if (room - k >= static_cast<std::size_t>(width<T>)) {
                store(to + k, load(from + k));
            } else {
                store_part(to + k, load(from + k), static_cast<int>(n - k));
            }
        }
    }
};

template <class T, int bits, class Finish>
void fill_bits(const UniformAddress& address, std::size_t first_row, std::size_t rows, std::size_t columns, T* out,
               std::size_t ldo, const Finish& finish) {
    constexpr std::size_t pieces = pieces_of(bits);
    const std::size_t blocks = (columns + pieces - 1) / pieces;
    if (blocks == 0) return;
    const Common common(address);
    Chunk<T, bits> made;
    if (blocks > chunk) {
        for (std::size_t r = 0; r < rows; ++r) {
            for (std::size_t j = 0; j < blocks; j += chunk) {
                const std::size_t some = blocks - j < chunk ? blocks - j : chunk;
                made.make(common, (first_row + r) * blocks + j, some, finish);
                for (std::size_t p = 0, at = j; p < pieces && at < columns; ++p, at += blocks) {
                    const std::size_t n = columns - at < some ? columns - at : some;
                    made.copy(p, 0, out + r * ldo + at, n, n);
                }
            }
        }
        return;
    }
    // Blocks of rows follow one another, so vectors are full however short the rows are.
    const std::size_t rows_at_once = chunk / blocks;
    for (std::size_t r = 0; r < rows; r += rows_at_once) {
        const std::size_t some = rows - r < rows_at_once ? rows - r : rows_at_once;
        made.make(common, (first_row + r) * blocks, some * blocks, finish);
        for (std::size_t i = 0; i < some; ++i) {
            // In the order of pieces: where a vector reaches beyond its piece, the next one overwrites that.
            for (std::size_t p = 0, at = 0; p < pieces && at < columns; ++p, at += blocks) {
                const std::size_t room = columns - at;
                made.copy(p, i * blocks, out + (r + i) * ldo + at, room < blocks ? room : blocks, room);
            }
        }
    }
}

template <class T, class Finish>
void fill_finished(const UniformAddress& address, std::size_t first_row, std::size_t rows, std::size_t columns, T* out,
                   std::size_t ldo, const Finish& finish) {
    (address.bits == 16 ? fill_bits<T, 16, Finish> : fill_bits<T, 24, Finish>)(address, first_row, rows, columns, out,
                                                                             ldo, finish);
}

template <class T>
void fill(const UniformAddress& address, std::size_t first_row, std::size_t rows, std::size_t columns, T* out,
          std::size_t ldo, const UniformMask<T>* mask) {
    if (mask != nullptr) {
        fill_finished(address, first_row, rows, columns, out, ldo, Masked<T>(*mask));
    } else {
        fill_finished(address, first_row, rows, columns, out, ldo, AsItIs());
    }
}

}  // namespace

extern const UniformKernels<float> uniform_f32;
extern const UniformKernels<double> uniform_f64;
const UniformKernels<float> uniform_f32 = {fill<float>};
const UniformKernels<double> uniform_f64 = {fill<double>};

}  // namespace lw::LW_NAMESPACE
