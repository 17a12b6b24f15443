// What is looked for in rows: the largest entry, and numbers that are too large.
//
// Included only by *_isa.cpp; see simd.h.
#pragma once

#include "rows_softmax.h"

namespace lw::LW_NAMESPACE {

// By the bits of magnitudes, which as integers are in the order of the numbers, those of NaN above all.
template <class T>
bool within(const T* x, Size n, T most) {
    Mask<T> largest = {};
    over_lanes<T>(n, [&](Size k, int count) __attribute__((always_inline)) {
        const Lanes<T> y = load_lanes<T>(x + k, count, T(0));
        LW_EACH_LANE_VECTOR {
            const Mask<T> here = (Mask<T>)magnitude<T>(y.v[i]);
            largest = here > largest ? here : largest;
        }
    });
    return !any<T>(largest > (Mask<T>)all<T>(most));
}

template <class T>
void argmax(const T* Z, Size ldz, std::int64_t* index, Size rows, Size length) {
    for (Size r = 0; r < rows; ++r) {
        const T* const z = Z + r * ldz;
        Size at = 0;
        if (within<T>(z, length, infinity<T>)) {
            const T top = largest<T>(z, length);
            unsigned found = 0;
            for (Size k = 0; found == 0 && k < length; k += width<T>) {
                // Lanes beyond the row hold 0, which may be the largest; one within the row then comes before them.
                const int n = length - k < width<T> ? static_cast<int>(length - k) : width<T>;
                found = set_lanes<T>(load_some<T>(z + k, n) == top);
                at = k;
            }
            at += static_cast<Size>(__builtin_ctz(found));
        } else {
            while (z[at] == z[at]) ++at;
        }
        index[r] = static_cast<std::int64_t>(at);
    }
}

}  // namespace lw::LW_NAMESPACE
