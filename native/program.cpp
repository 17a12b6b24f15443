#include "program.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "pool.h"
#include "program_loaded.h"

namespace lw {

using program::Loaded;
using program::Share;
using program::StageTiles;
using program::Step;
using program::Tile;

namespace {

template <class T>
void run_tile(const Loaded<T>& p, const Tile& tile, Share<T>& share) {
    const program::Job& job = p.listing.jobs[tile.job];
    for (std::size_t i = job.first; i < job.last; ++i) {
        const Step<T>& step = p.steps[i];
        if (!step.run(step, tile, share)) return;
    }
}

enum class Jobs { all, that_leave_the_state, that_change_the_state };

template <class T>
void run_stage(Loaded<T>& p, const StageTiles& stage, Jobs jobs = Jobs::all) {
    const auto left_out = [&](const Tile& tile) {
        return jobs != Jobs::all && p.job_facts[tile.job].writes_state != (jobs == Jobs::that_change_the_state);
    };
    if (stage.threads <= 1) {
        for (std::size_t i = stage.first; i < stage.last; ++i) {
            if (!left_out(p.tiles[i])) run_tile(p, p.tiles[i], p.shares[0]);
        }
        return;
    }
    const std::size_t* const range = p.ranges.data() + stage.first_range;
    const auto shares = static_cast<std::size_t>(stage.threads);
    for (std::size_t s = 0; s < shares; ++s) p.next[s].tile.store(range[s], std::memory_order_relaxed);
    Pool::run(stage.threads, [&](int index, int) {
        const auto own = static_cast<std::size_t>(index);
        Share<T>& share = p.shares[own];
        for (std::size_t k = 0; k < shares; ++k) {
            // Then what others have not begun.
            const std::size_t s = own + k < shares ? own + k : own + k - shares;
            for (std::size_t i; (i = p.next[s].tile.fetch_add(1, std::memory_order_relaxed)) < range[s + 1];) {
                if (!left_out(p.tiles[i])) run_tile(p, p.tiles[i], share);
            }
        }
    });
}

// Where an index was bad: the first instruction in program order, and its first position.
template <class T>
void report_bad_index(Loaded<T>& p) {
    Share<T>* first = nullptr;
    for (Share<T>& share : p.shares) {
        if (share.bad_step == Share<T>::no_step) continue;
        if (first == nullptr || share.bad_step < first->bad_step ||
            (share.bad_step == first->bad_step && share.bad.position < first->bad.position)) {
            first = &share;
        }
    }
    if (first == nullptr) return;
    const BadIndexError error(program::facts(p.listing.instructions[first->bad_step].kernel).name, first->bad);
    for (Share<T>& share : p.shares) share.bad_step = Share<T>::no_step;
    throw error;
}

// The rows that the share gathers in the next run, where they lie together.
template <class T>
RowsAhead rows_ahead(const Loaded<T>& p, const Share<T>& share, const GatherContext& gather) {
    const std::size_t first = std::min(share.first_gathered, gather.next);
    const std::size_t last = std::min(share.last_gathered, gather.next);
    if (first >= last) return {};
    const Source& source = gather.sources[p.gathers.widest];
    const std::size_t size = element_bytes[static_cast<int>(source.element)];
    if (source.column_stride != static_cast<std::ptrdiff_t>(size)) return {};
    return {source.data, source.row_stride, source.columns * size, gather.rows + p.gathers.rows + first, last - first};
}

template <class T>
void feed(Loaded<T>& p, const double* scalars, const GatherContext* gather) {
    for (Share<T>& share : p.shares) {
        share.gather = gather;
        share.ahead = gather == nullptr ? RowsAhead() : rows_ahead(p, share, *gather);
    }
    for (std::size_t i = 0; i < p.scalars.size(); ++i) p.scalars[i] = static_cast<T>(scalars[i]);
}

template <class T>
void run_stages(Loaded<T>& p, std::size_t first, std::size_t last) {
    for (std::size_t s = first; s < last; ++s) {
        run_stage(p, p.stages[s]);
        if (p.indexed) report_bad_index(p);
    }
}

}  // namespace

template <class T>
Program<T>::Program(std::span<const std::int64_t> words, std::span<const double> numbers, Isa isa)
    : loaded_(std::make_unique<Loaded<T>>(program::load<T>(words, numbers, isa))) {}

template <class T>
Program<T>::~Program() = default;

template <class T>
const std::vector<BoundArray>& Program<T>::bound() const {
    return loaded_->bound;
}
template <class T>
std::size_t Program<T>::state_bytes() const {
    return loaded_->listing.state_bytes;
}
template <class T>
std::size_t Program<T>::arena_bytes() const {
    return loaded_->listing.arena_bytes;
}
template <class T>
std::size_t Program<T>::local_bytes() const {
    std::size_t bytes = 0;
    for (const program::Job& job : loaded_->listing.jobs) bytes = std::max(bytes, job.local_bytes);
    return bytes;
}
template <class T>
std::size_t Program<T>::scalars() const {
    return loaded_->listing.scalars;
}
template <class T>
const std::vector<SourceUse>& Program<T>::sources() const {
    return loaded_->gathers.sources;
}
template <class T>
std::size_t Program<T>::gathered_rows() const {
    return loaded_->gathers.rows;
}
template <class T>
double Program<T>::nanoseconds() const {
    double sum = 0;
    for (const program::JobFacts& facts : loaded_->job_facts) sum += facts.nanoseconds;
    return sum;
}

template <class T>
Program<T>::Turn::Turn(Program& program) : program_(program) {
    if (program.at_work_.exchange(true, std::memory_order_acquire)) {
        throw std::runtime_error("a program runs one call at a time; this one is at work");
    }
}

template <class T>
Program<T>::Turn::~Turn() {
    program_.at_work_.store(false, std::memory_order_release);
}

template <class T>
void Program<T>::bind(void* const* bound, void* state, int threads) {
    Loaded<T>& p = *loaded_;
    if (p.arena.data() == nullptr) {
        p.arena = program::Memory(p.listing.arena_bytes);
        std::memset(p.arena.data(), 0, p.listing.arena_bytes);
    }
    if (p.threads != threads) program::plan_tiles(p, threads);
    for (Share<T>& share : p.shares) {
        share.bases[program::state_base] = static_cast<char*>(state);
        share.bases[program::arena_base] = p.arena.data();
        share.bases[program::scalar_base] = reinterpret_cast<char*>(p.scalars.data());
        for (std::size_t i = 0; i < p.listing.bound; ++i) {
            share.bases[program::first_bound_base + i] = static_cast<char*>(bound[i]);
        }
    }
}

template <class T>
void Program<T>::cut(std::size_t rows, std::size_t columns) {
    loaded_->forced = {rows, columns};
    loaded_->threads = 0;
}

template <class T>
bool Program<T>::results_first() const {
    return loaded_->results_first;
}

template <class T>
void Program<T>::run(const double* scalars, const GatherContext* gather) {
    Loaded<T>& p = *loaded_;
    feed(p, scalars, gather);
    run_stages(p, 0, p.stages.size());
}

template <class T>
void Program<T>::run_first_part(const double* scalars, const GatherContext* gather) {
    Loaded<T>& p = *loaded_;
    feed(p, scalars, gather);
    run_stages(p, 0, p.first_change);
    if (p.first_change < p.stages.size()) run_stage(p, p.stages[p.first_change], Jobs::that_leave_the_state);
    if (p.indexed) report_bad_index(p);
}

template <class T>
void Program<T>::run_second_part() {
    Loaded<T>& p = *loaded_;
    if (p.first_change >= p.stages.size()) return;
    run_stage(p, p.stages[p.first_change], Jobs::that_change_the_state);
    if (p.indexed) report_bad_index(p);
    run_stages(p, p.first_change + 1, p.stages.size());
}

template class Program<float>;
template class Program<double>;

std::vector<const char*> program_kernel_names() {
    std::vector<const char*> names;
    for (const program::KernelFacts& facts : program::table::kernels) names.push_back(facts.name);
    return names;
}

}  // namespace lw
