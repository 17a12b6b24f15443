// Epochs of training steps in one call: order of the samples, minibatches, costs, and what ends a fit early.
//
// A step is a Program that gathers its rows, writes the cost at the weights it found, and changes weights and slots in
// the state. Two programs share the state: one for whole batches, one for what is left at the end of an epoch.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "gather.h"
#include "pool.h"
#include "program.h"

namespace lw {

enum class TrainStatus {
    done,
    interrupted,       // by the check for signals
    stopped,           // by request_stop
    infinite_cost,     // or NaN; the state holds the weights of the last finite cost
    infinite_weights,  // or NaN; the state holds the weights before that step
    runaway,           // an epoch's cost exceeded the limit
};

// Consecutive elements of the state.
struct StateRange {
    std::size_t offset;  // bytes
    std::size_t count;
};

template <class T>
struct TrainProgram {
    Program<T>* program;       // null: there is none
    std::vector<void*> bound;  // its arrays
    const T* cost;             // one of them, or a part of one
};

template <class T>
struct TrainSettings {
    TrainProgram<T> full, last;  // last: where batch does not divide rows
    char* state;
    std::vector<StateRange> parameters;
    std::vector<Source> sources;
    std::size_t rows, batch;
    bool shuffled;  // else the samples are taken in their own order
    std::uint64_t seed, stream;
};

// One call of Trainer::run.
struct TrainRun {
    std::uint64_t first_epoch;  // its number, which the order of samples depends on
    std::size_t epochs;
    const double* scalars;       // of the first step
    std::size_t scalars_stride;  // to those of the next step; 0 where all are the same
    int threads;
    double cost_limit;      // of an epoch
    bool keep_best;         // a copy of the parameters after the epoch of the lowest cost
    bool check_every_step;  // weights after each step, not only after each epoch
    double* costs;          // of each epoch: the mean over samples, each at the weights of its step
    double* seconds;        // from the call to the end of each epoch
    Interrupt* interrupt;
};

struct TrainProgress {
    std::uint64_t epoch = 0;      // the number of the one that was last begun
    std::size_t epochs_done = 0;  // in the last call
    std::uint64_t steps = 0;      // whole steps, in all calls
    std::size_t epoch_steps = 0;  // of them, in the epoch
    double epoch_cost = 0;        // sum of cost · rows over those
};

template <class T>
class Trainer {
public:
    // Everything that the settings point to outlives the trainer. std::invalid_argument where they do not fit.
    explicit Trainer(TrainSettings<T> settings);

    // Allocates nothing once the programs are bound to so many threads. A fit that leaves the finite numbers is found at
    // the step's cost or at the end of an epoch; the steps since a copy of the state was made are then done again, each
    // one checked, so that the state is left as status and progress say. Throws BadIndexError.
    TrainStatus run(const TrainRun& run);

    void request_stop() noexcept { stop_.request(); }

    const TrainProgress& progress() const { return progress_; }
    void set_steps(std::uint64_t steps) { progress_.steps = steps; }

    // The lowest cost of an epoch and the parameters after it; before the first one the number that was set, and the
    // parameters that the first run found.
    double best_cost() const { return best_cost_; }
    void set_best_cost(double cost) { best_cost_ = cost; }
    void load_best() { load(best_); }

    // The parameters before the last step of the last run that was done.
    void load_trusted() { load(trusted_); }

private:
    using Clock = std::chrono::steady_clock;
    using Copy = std::vector<T>;  // of the parameters

    void begin(const TrainRun& run);
    TrainStatus epoch(const TrainRun& run, std::size_t e, bool checked, bool capture);
    TrainStatus step(const TrainRun& run, const TrainProgram<T>& program, std::size_t first_row, std::size_t rows);
    TrainStatus replay(const TrainRun& run, TrainStatus found);
    void take_snapshot(std::size_t e);
    void save(Copy& copy) const;
    void load(const Copy& copy);
    bool parameters_finite() const;
    std::size_t epoch_length() const { return (settings_.rows + settings_.batch - 1) / settings_.batch; }

    TrainSettings<T> settings_;
    TrainProgress progress_;
    std::uint64_t first_step_ = 0;  // of the run
    std::vector<std::int64_t> order_;
    std::vector<std::uint64_t> workspace_;
    Copy trusted_, before_, best_;
    bool started_ = false;
    double best_cost_;
    struct {
        std::vector<char> state;
        std::size_t epoch = 0;
        TrainProgress progress;
    } snapshot_;
    StopFlag stop_;
};

}  // namespace lw
