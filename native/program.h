// A training step, or any other computation on dense matrices, as a program: stages of jobs of instructions, for one
// precision and one set of sizes. compile/program.py writes it and describes its words.
//
// Everything is checked when a program is loaded: afterwards no access leaves the memory that it declares, whatever
// the words were. Row numbers that come with the data (take, one_hot, scatter, gather) are checked when it runs.
//
// A job is cut into tiles that do not depend on one another, and the tiles of a stage are handed out to threads. How
// they are cut follows from sizes, caches and the number of threads; no result depends on it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <vector>

#include "isa.h"
#include "layout.h"

namespace lw {

namespace program {
template <class T>
struct Loaded;
}

struct Source;  // gather.h

// The rows of this run, for gather: rows[i] of each source, or first + i where rows is null.
struct GatherContext {
    const Source* sources;
    const std::int64_t* rows;
    std::int64_t first;
    std::size_t next = 0;  // so many numbers more follow in `rows`: they are those of the next run
};

// What is asked of a source of gather.
struct SourceUse {
    bool used = false, integer = false;
    std::size_t columns = 0;
};

// What is asked of a bound array.
struct BoundArray {
    bool used = false, integer = false, written = false;
    std::size_t elements = 0;
};

// A row number that does not exist. The step that met it did not run to its end.
class BadIndexError : public std::exception {
public:
    BadIndexError(const char* k, const BadIndex& b) : kernel(k), bad(b) {}
    const char* what() const noexcept override { return "a row number that does not exist"; }

    const char* kernel;
    BadIndex bad;
};

template <class T>
class Program {
public:
    // std::invalid_argument says where the words are wrong and what was expected.
    Program(std::span<const std::int64_t> words, std::span<const double> numbers, Isa isa);
    ~Program();
    Program(const Program&) = delete;
    Program& operator=(const Program&) = delete;

    const std::vector<BoundArray>& bound() const;
    std::size_t state_bytes() const;
    std::size_t arena_bytes() const;
    std::size_t local_bytes() const;  // for each row of a tile, at most
    std::size_t scalars() const;
    const std::vector<SourceUse>& sources() const;
    std::size_t gathered_rows() const;  // of each source in a run; 0 where there is no gather
    double nanoseconds() const;  // of a run on one thread, roughly

    // One run at a time: std::runtime_error where another one is under way, also in this thread.
    class Turn {
    public:
        explicit Turn(Program& program);
        ~Turn();
        Turn(const Turn&) = delete;
        Turn& operator=(const Turn&) = delete;

    private:
        Program& program_;
    };

    // Where the runs that follow find their memory, and on how many threads. Makes the arena and what the threads need
    // when it is first called or the number changes.
    void bind(void* const* bound, void* state, int threads);

    // For tests: tiles of so many rows and columns, rounded up to blocks where they must be, on all threads; 0 chooses.
    void cut(std::size_t rows, std::size_t columns);

    // Runs once; allocates nothing. The context may be null where nothing is gathered, and its rows are not checked.
    // Throws BadIndexError.
    void run(const double* scalars, const GatherContext* gather);

    // The same run in two parts, where `results_first` says that all bound arrays are written in the first part. The
    // state is written in the second part only.
    bool results_first() const;
    void run_first_part(const double* scalars, const GatherContext* gather);
    void run_second_part();

private:
    std::unique_ptr<program::Loaded<T>> loaded_;
    std::atomic<bool> at_work_{false};
};

// Names of the kernels, in the order of their numbers.
std::vector<const char*> program_kernel_names();

}  // namespace lw
