// A program that has been checked: its steps, and how they are cut into tiles for a number of threads.
#pragma once

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "program.h"
#include "program_build.h"

namespace lw::program {

// Bytes at a multiple of 64. Many of them in large pages, where the system gives these to who asks: it fetches a page
// when it is first touched, and 130 MB of small ones take 120 ms.
class Memory {
public:
    Memory() = default;
    explicit Memory(std::size_t bytes) {
        void* memory = nullptr;
        const bool large = bytes >= 2 * large_page;
        if (posix_memalign(&memory, large ? large_page : 64, bytes == 0 ? 1 : bytes) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (large) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
        data_.reset(static_cast<char*>(memory));
    }
    char* data() const { return data_.get(); }

private:
    static constexpr std::size_t large_page = std::size_t{2} << 20;

    struct Release {
        void operator()(char* p) const { std::free(p); }
    };
    std::unique_ptr<char, Release> data_;
};

// Rows and columns of the tiles of a job.
struct Cut {
    std::size_t rows, columns;
};

// The tiles of a stage. Each share begins with its own, which are the same ones in each run: what they wrote is still in
// its cache.
struct StageTiles {
    int threads;
    std::size_t first, last;  // tiles
    std::size_t first_range;  // where those of each share begin, and where the last ones end
};

// The tiles of a share that have been begun, by whichever thread.
struct alignas(64) Next {
    std::atomic<std::size_t> tile;
};

template <class T>
struct Loaded {
    Loaded(Listing l, Isa isa)
        : listing(std::move(l)),
          kernels{products<T>(isa), row_kernels<T>(isa), maps<T>(isa), lw::gather<T>(isa),
                  lw::gather<std::int64_t>(isa), uniform_kernels<T>(isa)} {}

    Listing listing;
    Kernels<T> kernels;
    Tables<T> tables;
    Gathers gathers;
    std::vector<Step<T>> steps;  // of instructions, in their order
    std::vector<Operand> operands;
    std::vector<std::size_t> first_operand;  // of each instruction; one more at the end
    bool indexed = false;                    // an instruction may meet a bad index
    std::vector<JobFacts> job_facts;
    std::size_t first_change = 0;  // the first stage that writes to the state
    bool results_first = true;     // all bound arrays are written before, or in that stage by jobs that leave the state
    std::vector<BoundArray> bound;

    // For `threads` threads:
    int threads = 0;
    Cut forced{};  // by tests
    std::vector<StageTiles> stages;
    std::vector<std::size_t> ranges;
    std::vector<Next> next;
    std::vector<Tile> tiles;
    std::vector<Share<T>> shares;
    std::vector<T> scalars;
    Memory arena;
    std::vector<Memory> scratch;  // of the shares; each its own, so that a sanitizer sees the ends
};

// std::invalid_argument where anything is wrong.
template <class T>
Loaded<T> load(std::span<const std::int64_t> words, std::span<const double> numbers, Isa isa);

// Cuts all jobs, and gives the shares their local memory.
template <class T>
void plan_tiles(Loaded<T>& program, int threads);

}  // namespace lw::program
