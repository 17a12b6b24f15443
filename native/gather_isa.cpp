// Gathering of rows for one instruction set: plain loops, which the compiler turns into its vectors.
#include "gather.h"
#include "simd.h"

namespace lw::LW_NAMESPACE {
namespace {

// Element types as they lie in memory, at any alignment, and the number that each stands for.
template <class S>
struct Plain {
    typedef S Stored __attribute__((aligned(1), may_alias));
    template <class T>
    static LW_INLINE T convert(S x) {
        return static_cast<T>(x);
    }
};

struct Boolean {
    typedef std::uint8_t Stored __attribute__((aligned(1), may_alias));
    template <class T>
    static LW_INLINE T convert(std::uint8_t x) {
        return static_cast<T>(x != 0);
    }
};

struct Half {
    typedef std::uint16_t Stored __attribute__((aligned(1), may_alias));
    // The bits moved to their places in a float stand for 2^-112 of the number, exactly, subnormal numbers too. Infinity
    // and NaN have the exponent that is all ones.
    template <class T>
    static LW_INLINE T convert(std::uint16_t x) {
        const std::uint32_t magnitude = (x & 0x7FFFu) << 13;
        float scaled;
        __builtin_memcpy(&scaled, &magnitude, 4);
        scaled *= 0x1p112f;
        std::uint32_t bits;
        __builtin_memcpy(&bits, &scaled, 4);
        bits |= (magnitude >= 0x7C00u << 13 ? 0x7F800000u : 0u) | (x & 0x8000u) << 16;
        float number;
        __builtin_memcpy(&number, &bits, 4);
        return static_cast<T>(number);
    }
};

template <class S, class T>
constexpr bool same = false;
template <class T>
constexpr bool same<Plain<T>, T> = true;

constexpr std::size_t line = 64;

LW_INLINE std::size_t distance(std::ptrdiff_t stride) { return static_cast<std::size_t>(stride < 0 ? -stride : stride); }

// Rows of a random order come from memory, and the processor sees no order in them. So it is asked for the rows that
// come up within so many bytes, and for the head of a long row; the rest of one it then sees coming. Against copying
// alone: 20 % more a second for rows of 3136 or 112 bytes, 40 % for 1024, twice as much for 24.
constexpr std::size_t ahead_bytes = 2048;
constexpr std::size_t head_bytes = 1024;

// Rows that lie together, or nearly so: one after another.
template <class E, class T, class Offset>
LW_INLINE void by_rows(const Source& source, Offset offset, std::size_t n, T* out, std::size_t ldo, bool prefetch) {
    using Stored = typename E::Stored;
    const char* const base = static_cast<const char*>(source.data);
    const std::ptrdiff_t stride = source.column_stride;
    const std::size_t columns = source.columns;
    const bool dense = stride == sizeof(Stored) || columns == 1;
    const std::size_t span = distance(stride) * (columns - 1) + sizeof(Stored);
    const std::ptrdiff_t lowest = stride < 0 ? stride * static_cast<std::ptrdiff_t>(columns - 1) : 0;
    const std::size_t head = span < head_bytes ? span : head_bytes;
    const std::size_t rows_ahead = prefetch ? ahead_bytes / (span < line ? line : span) + 1 : 0;
    const auto fetch = [&](std::size_t i) __attribute__((always_inline)) {
        const char* p = base + offset(i) + lowest;
        for (std::size_t at = 0; at < head; at += line) __builtin_prefetch(p + at);
        __builtin_prefetch(p + head - 1);
    };
    if (prefetch) {
        for (std::size_t i = 0; i < n && i < rows_ahead; ++i) fetch(i);
    }
    for (std::size_t i = 0; i < n; ++i, out += ldo) {
        if (prefetch && i + rows_ahead < n) fetch(i + rows_ahead);
        const char* p = base + offset(i);
        if (dense) {
            if constexpr (same<E, T>) {
                __builtin_memcpy(out, p, columns * sizeof(T));
            } else {
                const Stored* row = reinterpret_cast<const Stored*>(p);
                for (std::size_t j = 0; j < columns; ++j) out[j] = E::template convert<T>(row[j]);
            }
        } else {
#pragma GCC unroll 4
            for (std::size_t j = 0; j < columns; ++j, p += stride) {
                out[j] = E::template convert<T>(*reinterpret_cast<const Stored*>(p));
            }
        }
    }
}

// Columns that lie together, as in Fortran order: tiles of a line's width are read column by column, so that
// neighbours are taken while they are in cache, and written row by row, a line at a time.
template <class E, class T, class Offset>
LW_INLINE void by_columns(const Source& source, Offset offset, std::size_t n, T* out, std::size_t ldo, bool prefetch) {
    using Stored = typename E::Stored;
    constexpr std::size_t height = 128, width = line / sizeof(T);
    T tile[height][width];
    std::ptrdiff_t offsets[height];
    for (std::size_t first = 0; first < n; first += height, out += height * ldo) {
        const std::size_t rows = n - first < height ? n - first : height;
        for (std::size_t i = 0; i < rows; ++i) offsets[i] = offset(first + i);
        const std::ptrdiff_t one_end = offsets[0], other_end = offsets[rows - 1];
        const std::ptrdiff_t low = one_end < other_end ? one_end : other_end;
        const std::ptrdiff_t high = (one_end < other_end ? other_end : one_end) + std::ptrdiff_t{sizeof(Stored) - 1};
        const char* p = static_cast<const char*>(source.data);
        for (std::size_t column = 0; column < source.columns; column += width) {
            const std::size_t columns = source.columns - column < width ? source.columns - column : width;
            for (std::size_t j = 0; j < columns; ++j, p += source.column_stride) {
                if (prefetch && column + j + width < source.columns) {
                    const char* next = p + static_cast<std::ptrdiff_t>(width) * source.column_stride;
                    for (std::ptrdiff_t at = low; at < high; at += line) __builtin_prefetch(next + at);
                    __builtin_prefetch(next + high);
                }
                for (std::size_t i = 0; i < rows; ++i) {
                    tile[i][j] = E::template convert<T>(*reinterpret_cast<const Stored*>(p + offsets[i]));
                }
            }
            T* to = out + column;
            if (columns == width) {
                for (std::size_t i = 0; i < rows; ++i, to += ldo) __builtin_memcpy(to, tile[i], line);
            } else {
                for (std::size_t i = 0; i < rows; ++i, to += ldo) __builtin_memcpy(to, tile[i], columns * sizeof(T));
            }
        }
    }
}

template <class E, class T>
void copy(const Source& source, const std::int64_t* rows, std::int64_t first, std::size_t n, T* out, std::size_t ldo) {
    const std::ptrdiff_t row = source.row_stride;
    const std::size_t down = distance(row), right = distance(source.column_stride);
    const auto offset = [=](std::size_t i) __attribute__((always_inline)) {
        return static_cast<std::ptrdiff_t>(rows ? rows[i] : first + static_cast<std::int64_t>(i)) * row;
    };
    // The processor itself sees rows coming that follow one another, but not so a column's few lines of a tile.
    if (source.columns > 1 && down < right) {
        by_columns<E>(source, offset, n, out, ldo, !rows && down <= line);
    } else {
        by_rows<E>(source, offset, n, out, ldo, rows && (right <= line || source.columns == 1));
    }
}

template <class T>
void any(const Source& source, const std::int64_t* rows, std::int64_t first, std::size_t n, T* out, std::size_t ldo) {
    if (source.columns == 0) return;
    switch (source.element) {
#define LW_CASE(element, E) \
    case Element::element:  \
        return copy<E>(source, rows, first, n, out, ldo);
        LW_CASE(boolean, Boolean)
        LW_CASE(int8, Plain<std::int8_t>)
        LW_CASE(int16, Plain<std::int16_t>)
        LW_CASE(int32, Plain<std::int32_t>)
        LW_CASE(int64, Plain<std::int64_t>)
        LW_CASE(uint8, Plain<std::uint8_t>)
        LW_CASE(uint16, Plain<std::uint16_t>)
        LW_CASE(uint32, Plain<std::uint32_t>)
        LW_CASE(uint64, Plain<std::uint64_t>)
        default:
            break;
    }
    if constexpr (static_cast<T>(0.5) != 0) {  // no integer
        switch (source.element) {
            LW_CASE(float16, Half)
            LW_CASE(float32, Plain<float>)
            LW_CASE(float64, Plain<double>)
            default:
                break;
        }
    }
}

template <class T>
void rows_of(const Source& source, const std::int64_t* rows, std::size_t n, T* out, std::size_t ldo) {
    if (n > 0) any(source, rows, 0, n, out, ldo);
}

template <class T>
void range_of(const Source& source, std::int64_t first, std::size_t n, T* out, std::size_t ldo) {
    any(source, nullptr, first, n, out, ldo);
}

}  // namespace

extern const Gather<float> gather_f32;
extern const Gather<double> gather_f64;
extern const Gather<std::int64_t> gather_i64;
const Gather<float> gather_f32 = {rows_of<float>, range_of<float>};
const Gather<double> gather_f64 = {rows_of<double>, range_of<double>};
const Gather<std::int64_t> gather_i64 = {rows_of<std::int64_t>, range_of<std::int64_t>};

}  // namespace lw::LW_NAMESPACE
