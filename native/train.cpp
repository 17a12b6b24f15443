#include "train.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

#include "permutation.h"

namespace lw {
namespace {

// A copy of the state is made where an epoch begins, but not oftener than this: with one step an epoch it would cost as
// much as the step.
constexpr std::uint64_t snapshot_steps = 64;

// Integers, so that the compiler may take many at once.
template <class T>
bool all_finite(const T* x, std::size_t n) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    constexpr Bits exponent = std::bit_cast<Bits>(std::numeric_limits<T>::infinity());
    Bits found = 0;
    for (std::size_t i = 0; i < n; ++i) {
        Bits bits;
        std::memcpy(&bits, x + i, sizeof bits);
        found |= (bits & exponent) == exponent ? 1 : 0;
    }
    return found == 0;
}

}  // namespace

template <class T>
Trainer<T>::Trainer(TrainSettings<T> settings)
    : settings_(std::move(settings)), best_cost_(std::numeric_limits<double>::infinity()) {
    const TrainSettings<T>& s = settings_;
    if (s.rows == 0 || s.batch == 0 || s.batch > s.rows) {
        throw std::invalid_argument("a batch must have from 1 to all " + std::to_string(s.rows) + " rows; got " +
                                    std::to_string(s.batch));
    }
    if ((s.last.program != nullptr) != (s.rows % s.batch != 0)) {
        throw std::invalid_argument("a program for " + std::to_string(s.rows % s.batch) +
                                    " remaining rows: one is needed where this is not 0");
    }
    if (s.shuffled && s.rows > max_permutation) throw std::invalid_argument("too many rows to shuffle");
    std::size_t parameters = 0;
    for (const StateRange& range : s.parameters) {
        const std::size_t bytes = s.full.program->state_bytes();
        if (range.offset % sizeof(T) != 0 || range.offset > bytes || range.count > (bytes - range.offset) / sizeof(T)) {
            throw std::invalid_argument("a range of parameters leaves the state");
        }
        parameters += range.count;
    }
    for (Copy* copy : {&trusted_, &before_, &best_}) copy->resize(parameters);
    snapshot_.state.resize(s.full.program->state_bytes());
    if (s.shuffled) {
        order_.resize(s.rows);
        workspace_.resize(permutation_workspace(s.rows));
    }
}

template <class T>
void Trainer<T>::save(Copy& copy) const {
    T* to = copy.data();
    for (const StateRange& range : settings_.parameters) {
        std::memcpy(to, settings_.state + range.offset, range.count * sizeof(T));
        to += range.count;
    }
}

template <class T>
void Trainer<T>::load(const Copy& copy) {
    if (!started_) return;
    const T* from = copy.data();
    for (const StateRange& range : settings_.parameters) {
        std::memcpy(settings_.state + range.offset, from, range.count * sizeof(T));
        from += range.count;
    }
}

template <class T>
bool Trainer<T>::parameters_finite() const {
    return std::all_of(settings_.parameters.begin(), settings_.parameters.end(), [&](const StateRange& range) {
        return all_finite(reinterpret_cast<const T*>(settings_.state + range.offset), range.count);
    });
}

template <class T>
void Trainer<T>::take_snapshot(std::size_t e) {
    std::memcpy(snapshot_.state.data(), settings_.state, snapshot_.state.size());
    snapshot_.epoch = e;
    snapshot_.progress = progress_;
}

template <class T>
TrainStatus Trainer<T>::step(const TrainRun& run, const TrainProgram<T>& program, std::size_t first_row,
                             std::size_t rows) {
    const GatherContext context{settings_.sources.data(), settings_.shuffled ? order_.data() + first_row : nullptr,
                                static_cast<std::int64_t>(first_row)};
    program.program->run(run.scalars + (progress_.steps - first_step_) * run.scalars_stride, &context);
    const double cost = static_cast<double>(*program.cost);
    if (!std::isfinite(cost)) return TrainStatus::infinite_cost;
    progress_.epoch_cost += cost * static_cast<double>(rows);
    return TrainStatus::done;
}

// Epoch number e of the run. `capture`: the parameters before its last step become the trusted ones.
template <class T>
TrainStatus Trainer<T>::epoch(const TrainRun& run, std::size_t e, bool checked, bool capture) {
    const std::size_t N = settings_.rows, batch = settings_.batch;
    progress_.epoch = run.first_epoch + e;
    progress_.epoch_steps = 0;
    progress_.epoch_cost = 0;
    if (settings_.shuffled) {
        permutation({settings_.seed, settings_.stream, progress_.epoch}, N, order_.data(), workspace_.data());
    }
    for (std::size_t first = 0; first < N; first += batch) {
        if (run.interrupt != nullptr && run.interrupt->poll()) return TrainStatus::interrupted;
        if (stop_.requested()) return TrainStatus::stopped;
        const bool whole = N - first >= batch, last = N - first <= batch;
        if (checked || (capture && last)) save(before_);
        const TrainStatus status =
            step(run, whole ? settings_.full : settings_.last, first, whole ? batch : N - first);
        if (status != TrainStatus::done) {
            if (checked) load(trusted_);
            return status;
        }
        if ((checked || last) && !parameters_finite()) {
            if (checked) load(before_);
            return TrainStatus::infinite_weights;
        }
        if (checked || (capture && last)) std::swap(trusted_, before_);
        ++progress_.steps;
        ++progress_.epoch_steps;
    }
    return TrainStatus::done;
}

// The same steps again from the copy of the state, which have the same bits, each one checked.
template <class T>
TrainStatus Trainer<T>::replay(const TrainRun& run, TrainStatus found) {
    const std::size_t reached = progress_.epochs_done;
    std::memcpy(settings_.state, snapshot_.state.data(), snapshot_.state.size());
    progress_ = snapshot_.progress;
    for (std::size_t e = snapshot_.epoch; e <= reached; ++e) {
        progress_.epochs_done = e;
        const TrainStatus status = epoch(run, e, true, false);
        if (status != TrainStatus::done) return status;
    }
    return found;
}

template <class T>
void Trainer<T>::begin(const TrainRun& run) {
    settings_.full.program->bind(settings_.full.bound.data(), settings_.state, run.threads);
    if (settings_.last.program != nullptr) {
        settings_.last.program->bind(settings_.last.bound.data(), settings_.state, run.threads);
    }
    if (!started_) {
        save(trusted_);
        save(best_);
    }
    started_ = true;
    first_step_ = progress_.steps;
    progress_.epochs_done = 0;
}

template <class T>
TrainStatus Trainer<T>::run(const TrainRun& run) {
    const typename Program<T>::Turn turn(*settings_.full.program);
    std::optional<typename Program<T>::Turn> last_turn;
    if (settings_.last.program != nullptr) last_turn.emplace(*settings_.last.program);
    const auto started = Clock::now();
    begin(run);
    for (std::size_t e = 0; e < run.epochs; ++e) {
        const std::uint64_t since = progress_.steps - snapshot_.progress.steps;
        if (e == 0 || since >= snapshot_steps) take_snapshot(e);
        const std::uint64_t after = progress_.steps - snapshot_.progress.steps + epoch_length();
        const bool capture = e + 1 == run.epochs || after >= snapshot_steps;
        const TrainStatus status = epoch(run, e, run.check_every_step, capture);
        const bool infinite = status == TrainStatus::infinite_cost || status == TrainStatus::infinite_weights;
        if (infinite && !run.check_every_step) return replay(run, status);
        if (status != TrainStatus::done) return status;
        const double cost = progress_.epoch_cost / static_cast<double>(settings_.rows);
        run.costs[e] = cost;
        run.seconds[e] = std::chrono::duration<double>(Clock::now() - started).count();
        progress_.epochs_done = e + 1;
        if (cost > run.cost_limit) return TrainStatus::runaway;
        if (run.keep_best && cost < best_cost_) {
            best_cost_ = cost;
            save(best_);
        }
    }
    return TrainStatus::done;
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace lw
