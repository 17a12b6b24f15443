// Rows of the data that the next step gathers, fetched into the cache line by line while products run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lw {

class RowsAhead {
public:
    RowsAhead() = default;
    // rows[i] for i < n: a row is `bytes` long, and row 0 begins at `data`.
    RowsAhead(const void* data, std::ptrdiff_t stride, std::size_t bytes, const std::int64_t* rows, std::size_t n)
        : data_(static_cast<const char*>(data)), stride_(stride), bytes_(bytes), row_(rows), end_(rows + n) {}

    __attribute__((always_inline)) void fetch_line() {
        if (row_ == end_) return;
        __builtin_prefetch(data_ + static_cast<std::ptrdiff_t>(*row_) * stride_ + at_, 0, 2);
        at_ += 64;
        if (at_ >= bytes_) {
            at_ = 0;
            ++row_;
        }
    }

private:
    const char* data_ = nullptr;
    std::ptrdiff_t stride_ = 0;
    std::size_t bytes_ = 0, at_ = 0;
    const std::int64_t *row_ = nullptr, *end_ = nullptr;
};

}  // namespace lw
