#include "train.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "finite.h"
#include "permutation.h"

namespace lw {
namespace {

// The copy of the state is renewed where an epoch begins, but not oftener than this: with one step an epoch it would
// cost as much as the step.
constexpr std::uint64_t snapshot_steps = 64;

}  // namespace

template <class T>
Trainer<T>::Trainer(TrainSettings<T> settings)
    : settings_(std::move(settings)), best_cost_(std::numeric_limits<double>::infinity()) {
    check(settings_);
    for (const StateRange& range : settings_.parameters) parameters_bytes_ += range.count * sizeof(T);
    make_room(settings_);
}

template <class T>
void Trainer<T>::take(TrainSettings<T> settings) {
    check(settings);
    make_room(settings);  // which may fail: nothing has changed yet
    settings_ = std::move(settings);
    goes_on_ = undoable_ = false;
}

template <class T>
void Trainer<T>::check(const TrainSettings<T>& s) {
    if (s.rows == 0 || s.batch == 0 || s.batch > s.rows) {
        throw std::invalid_argument("a batch must have from 1 to all " + std::to_string(s.rows) + " rows; got " +
                                    std::to_string(s.batch));
    }
    if ((s.last.program != nullptr) != (s.rows % s.batch != 0)) {
        throw std::invalid_argument("a program for " + std::to_string(s.rows % s.batch) +
                                    " remaining rows: one is needed where this is not 0");
    }
    if (s.shuffled && s.rows > max_permutation) throw std::invalid_argument("too many rows to shuffle");
    for (const StateRange& range : s.parameters) {
        const std::size_t bytes = s.full.program->state_bytes();
        if (range.offset % sizeof(T) != 0 || range.offset > bytes || range.count > (bytes - range.offset) / sizeof(T)) {
            throw std::invalid_argument("a range of parameters leaves the state");
        }
    }
}

template <class T>
void Trainer<T>::make_room(const TrainSettings<T>& s) {
    if (!s.shuffled) return;
    order_.resize(s.rows);
    workspace_.resize(permutation_workspace(s.rows));
}

template <class T>
bool Trainer<T>::parameters_finite() const {
    return std::all_of(settings_.parameters.begin(), settings_.parameters.end(), [&](const StateRange& range) {
        return all_finite(settings_.state + range.offset, sizeof(T), range.count, Precision::wide, threads_);
    });
}

template <class T>
void Trainer<T>::set_steps(std::uint64_t steps) {
    progress_.steps = steps;
    goes_on_ = undoable_ = false;
}

// The state before the next step, which is the first one of that epoch.
template <class T>
void Trainer<T>::take_snapshot(const char* state, std::uint64_t epoch, bool best_wanted) {
    if (best_at_ == Best::in_snapshot && best_wanted && snapshot_.state.data() != nullptr) {
        copy_best(snapshot_.state.data());
    }
    if (best_at_ == Best::in_state) best_at_ = Best::in_snapshot;
    if (snapshot_.state.data() == nullptr) snapshot_.state = program::Memory(state_bytes());
    std::memcpy(snapshot_.state.data(), state, state_bytes());
    snapshot_.steps = progress_.steps;
    snapshot_.epoch = epoch;
    snapshot_.epoch_steps = progress_.epoch_steps;
    snapshot_.epoch_cost = progress_.epoch_cost;
    scalars_.clear();
}

// Before the state changes.
template <class T>
void Trainer<T>::save_best_before_change() {
    if (best_at_ == Best::in_state) copy_best(settings_.state);
}

template <class T>
void Trainer<T>::copy_best(const char* state) {
    if (best_.data() == nullptr) best_ = program::Memory(parameters_bytes_);
    char* to = best_.data();
    for (const StateRange& range : settings_.parameters) {
        std::memcpy(to, state + range.offset, range.count * sizeof(T));
        to += range.count * sizeof(T);
    }
    best_at_ = Best::in_copy;
}

template <class T>
void Trainer<T>::mark_best(bool copy) {
    best_at_ = Best::in_state;
    if (copy) copy_best(settings_.state);
}

// The state that holds the best parameters; null: they are in the copy of their own.
template <class T>
const char* Trainer<T>::best_in_place() const {
    if (best_at_ == Best::in_copy) return nullptr;
    const bool in_snapshot = best_at_ == Best::in_snapshot && snapshot_.state.data() != nullptr;
    return in_snapshot ? snapshot_.state.data() : settings_.state;
}

template <class T>
void Trainer<T>::copy_best_to(char* state) const {
    const char *const whole = best_in_place(), *from = best_.data();
    for (const StateRange& range : settings_.parameters) {
        const std::size_t bytes = range.count * sizeof(T);
        std::memcpy(state + range.offset, whole != nullptr ? whole + range.offset : from, bytes);
        from += whole != nullptr ? 0 : bytes;
    }
}

template <class T>
void Trainer<T>::load_best() {
    goes_on_ = undoable_ = false;
    if (best_at_ == Best::in_snapshot && snapshot_.state.data() != nullptr) {
        std::memcpy(settings_.state, snapshot_.state.data(), state_bytes());
    }
    if (best_at_ != Best::in_copy) return;
    const char* from = best_.data();
    for (const StateRange& range : settings_.parameters) {
        std::memcpy(settings_.state + range.offset, from, range.count * sizeof(T));
        from += range.count * sizeof(T);
    }
}

template <class T>
const double* Trainer<T>::scalars(const TrainRun& run) const {
    if (progress_.steps >= first_step_) return run.scalars + (progress_.steps - first_step_) * run.scalars_stride;
    return scalars_.data() + (progress_.steps - snapshot_.steps) * settings_.full.program->scalars();
}

// Those since the snapshot: a later run brings its own only.
template <class T>
void Trainer<T>::keep_scalars(const TrainRun& run) {
    const std::size_t columns = settings_.full.program->scalars();
    for (std::uint64_t step = std::max(first_step_, snapshot_.steps); step < progress_.steps; ++step) {
        const double* const row = run.scalars + (step - first_step_) * run.scalars_stride;
        scalars_.insert(scalars_.end(), row, row + columns);
    }
}

// `renew`: the snapshot. The new one takes the place of the old one only when the cost at its weights is known to be
// finite; else the state before the step that led there would be wanted.
template <class T>
TrainStatus Trainer<T>::step(const TrainRun& run, const TrainProgram<T>& program, std::size_t first_row,
                             std::size_t rows, bool renew) {
    const std::size_t left = settings_.rows - first_row - rows;
    const std::size_t next = settings_.shuffled ? std::min(left, settings_.batch) : 0;
    const GatherContext context{settings_.sources.data(), settings_.shuffled ? order_.data() + first_row : nullptr,
                                static_cast<std::int64_t>(first_row), next};
    Program<T>& p = *program.program;
    if (settings_.counter != nullptr) *settings_.counter = static_cast<std::int64_t>(progress_.steps + 1);
    const bool in_parts = renew && p.results_first();
    program::Memory before;
    if (in_parts) {
        p.run_first_part(scalars(run), &context);
    } else {
        save_best_before_change();
        if (renew) {
            before = program::Memory(state_bytes());
            std::memcpy(before.data(), settings_.state, state_bytes());
        }
        p.run(scalars(run), &context);
    }
    const double cost = progress_.cost = static_cast<double>(*program.cost);
    if (!std::isfinite(cost)) return TrainStatus::infinite_cost;
    if (renew) take_snapshot(in_parts ? settings_.state : before.data(), progress_.epoch, run.keep_best);
    if (in_parts) p.run_second_part();
    progress_.epoch_cost += cost * static_cast<double>(rows);
    return TrainStatus::done;
}

template <class T>
bool Trainer<T>::out_of(const TrainRun& run, TrainStatus& status) const {
    if (progress_.steps >= run.steps_limit) {
        status = TrainStatus::out_of_steps;
    } else if (std::isfinite(run.seconds_limit) &&
               std::chrono::duration<double>(Clock::now() - started_).count() >= run.seconds_limit) {
        status = TrainStatus::out_of_time;
    } else {
        return false;
    }
    if (!parameters_finite()) status = TrainStatus::infinite_weights;
    return true;
}

template <class T>
TrainStatus Trainer<T>::epoch(const TrainRun& run, std::uint64_t number, const Again* again) {
    const std::size_t N = settings_.rows, batch = settings_.batch;
    // Where an earlier run has begun the epoch, or the snapshot was made in it.
    const bool begun = number == (again != nullptr ? snapshot_.epoch : run.first_epoch);
    progress_.epoch = number;
    progress_.epoch_steps = !begun ? 0 : again != nullptr ? snapshot_.epoch_steps : run.first_step;
    progress_.epoch_cost = !begun ? 0 : again != nullptr ? snapshot_.epoch_cost : run.epoch_cost;
    if (settings_.shuffled) {
        permutation({settings_.seed, settings_.stream, number}, N, order_.data(), workspace_.data());
    }
    const bool renew = again == nullptr && progress_.steps - snapshot_.steps >= snapshot_steps;
    const std::size_t begin = progress_.epoch_steps * batch;
    TrainStatus status = TrainStatus::done;
    for (std::size_t first = begin; first < N; first += batch) {
        if (again != nullptr && progress_.steps == again->until) return TrainStatus::done;
        if (again == nullptr && out_of(run, status)) return status;
        // Not in epochs of an earlier run, which are short: the caller has their costs already.
        if (number >= run.first_epoch) {
            if (run.interrupt != nullptr && run.interrupt->poll()) return TrainStatus::interrupted;
            if (stop_.requested()) return TrainStatus::stopped;
        }
        const bool whole = N - first >= batch, last = N - first <= batch;
        status = step(run, whole ? settings_.full : settings_.last, first, whole ? batch : N - first,
                      renew && first == begin);
        if (status != TrainStatus::done) return status;
        if ((again != nullptr ? again->checked : last) && !parameters_finite()) return TrainStatus::infinite_weights;
        ++progress_.steps;
        ++progress_.epoch_steps;
    }
    return TrainStatus::done;
}

// From the snapshot on.
template <class T>
TrainStatus Trainer<T>::steps_again(const TrainRun& run, std::uint64_t last_epoch, const Again& again) {
    save_best_before_change();
    std::memcpy(settings_.state, snapshot_.state.data(), state_bytes());
    progress_.steps = snapshot_.steps;
    for (std::uint64_t number = snapshot_.epoch; number <= last_epoch; ++number) {
        progress_.epochs_done = number > run.first_epoch ? number - run.first_epoch : 0;
        const Again here{again.until, again.checked && number == last_epoch};
        const TrainStatus status = epoch(run, number, &here);
        if (status != TrainStatus::done || progress_.steps == again.until) return status;
    }
    return TrainStatus::done;
}

// Once to find the step that left the finite numbers, and once more up to the state that is wanted.
template <class T>
TrainStatus Trainer<T>::replay(const TrainRun& run, TrainStatus found) {
    // No further than the run came: it has scalars for no more steps.
    const std::uint64_t until = std::min(progress_.steps + 1, std::max(run.steps_limit, progress_.steps));
    const TrainStatus status = steps_again(run, progress_.epoch, {until, true});
    if (status == TrainStatus::done) return found;  // the samples have changed
    if (status != TrainStatus::infinite_cost && status != TrainStatus::infinite_weights) return status;
    const TrainProgress end = progress_;
    // The cost at a snapshot is finite, but at one from before the first step of all it may not be.
    const bool one_less = status == TrainStatus::infinite_cost && end.steps > snapshot_.steps;
    const TrainStatus back = steps_again(run, end.epoch, {end.steps - (one_less ? 1 : 0), false});
    if (back != TrainStatus::done) return back;
    progress_ = end;
    return status;
}

template <class T>
TrainStatus Trainer<T>::step_back(Interrupt* interrupt) {
    // Or none since the snapshot: a run that found its time over where an earlier one had ended.
    if (!undoable_ || progress_.steps == snapshot_.steps) return TrainStatus::done;
    goes_on_ = undoable_ = false;
    const Turns turns(settings_);
    bind(threads_);
    TrainRun run{};
    run.first_epoch = snapshot_.epoch;
    run.interrupt = interrupt;
    const TrainProgress end = progress_;
    first_step_ = end.steps;
    const TrainStatus status = steps_again(run, end.epoch, {end.steps - 1, false});
    if (status == TrainStatus::done) progress_ = end;
    return status;
}

template <class T>
void Trainer<T>::bind(int threads) {
    threads_ = threads;
    for (const TrainProgram<T>* p : {&settings_.full, &settings_.last}) {
        if (p->program != nullptr) p->program->bind(p->bound.data(), settings_.state, threads);
    }
}

template <class T>
void Trainer<T>::begin(const TrainRun& run) {
    bind(run.threads);
    started_ = Clock::now();
    ++progress_.runs;
    first_step_ = progress_.steps;
    progress_.epochs_done = 0;
    scalars_.reserve((snapshot_steps + epoch_length()) * settings_.full.program->scalars());
    if (!goes_on_ || run.first_step != 0 || run.first_epoch != progress_.epoch + 1) {
        progress_.epoch_steps = run.first_step;
        progress_.epoch_cost = run.epoch_cost;
        take_snapshot(settings_.state, run.first_epoch, run.keep_best);
    }
    goes_on_ = undoable_ = false;
}

template <class T>
TrainStatus Trainer<T>::epochs(const TrainRun& run) {
    for (std::size_t e = 0; e < run.epochs; ++e) {
        const TrainStatus status = epoch(run, run.first_epoch + e, nullptr);
        const bool infinite = status == TrainStatus::infinite_cost || status == TrainStatus::infinite_weights;
        if (infinite) return replay(run, status);
        if (status != TrainStatus::done) return status;
        const double cost = progress_.epoch_cost / static_cast<double>(settings_.rows);
        run.costs[e] = cost;
        run.seconds[e] = std::chrono::duration<double>(Clock::now() - started_).count();
        progress_.epochs_done = e + 1;
        if (cost > run.cost_limit) return TrainStatus::runaway;
        if (run.keep_best && run.best_by_cost && cost < best_cost_) {
            best_cost_ = cost;
            best_at_ = Best::in_state;
        }
    }
    return TrainStatus::done;
}

template <class T>
TrainStatus Trainer<T>::run(const TrainRun& run) {
    const Turns turns(settings_);
    begin(run);
    const TrainStatus status = epochs(run);
    goes_on_ = run.epochs > 0 && status == TrainStatus::done;
    undoable_ = goes_on_ || status == TrainStatus::out_of_steps || status == TrainStatus::out_of_time;
    if (undoable_) keep_scalars(run);
    return status;
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace lw
