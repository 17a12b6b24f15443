// Epochs of training steps in one call: order of the samples, minibatches, costs, and what ends a fit early.
//
// A step is a Program that gathers its rows, writes the cost at the weights it found, and changes weights and slots in
// the state. Two programs share the state: one for whole batches, one for what is left at the end of an epoch.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gather.h"
#include "pool.h"
#include "program.h"
#include "program_loaded.h"

namespace lw {

enum class TrainStatus {
    done,
    interrupted,       // by the check for signals
    stopped,           // by request_stop
    infinite_cost,     // or NaN; the state is the one that the last finite cost came from
    infinite_weights,  // or NaN; the state is the one before that step
    runaway,           // an epoch's cost exceeded the limit
    out_of_steps,      // as many as the run may come to; between steps, as in the next
    out_of_time,
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
    std::int64_t* counter = nullptr;  // where programs read the number of their step, from 1; null: they do not
};

// One call of Trainer::run.
struct TrainRun {
    std::uint64_t first_epoch;  // its number, which the order of samples depends on
    std::size_t epochs;
    std::size_t first_step;  // of the first epoch: those before it were done by an earlier run
    double epoch_cost;       // the sum of cost · rows over those
    const double* scalars;       // of the first step
    std::size_t scalars_stride;  // to those of the next step; 0 where all are the same
    int threads;
    double cost_limit;          // of an epoch
    std::uint64_t steps_limit;  // whole steps in all calls
    double seconds_limit;       // from the call
    bool keep_best;             // for load_best
    bool best_by_cost;          // an epoch that costs less than any before is the best; else mark_best says so
    double* costs;          // of each epoch: the mean over samples, each at the weights of its step
    double* seconds;        // from the call to the end of each epoch
    Interrupt* interrupt;
};

struct TrainProgress {
    std::uint64_t runs = 0;       // that were begun: what follows is of the last one
    std::uint64_t epoch = 0;      // the number of the one that was last begun
    std::size_t epochs_done = 0;  // in the last call
    std::uint64_t steps = 0;      // whole steps, in all calls
    std::size_t epoch_steps = 0;  // of them, in the epoch
    double epoch_cost = 0;        // sum of cost · rows over those
    double cost = 0;              // of the last step, whole or not
};

// A step has the same bits whenever it is done again, so one copy of the state stands for all that came after it: the
// steps since then are done again where a fit leaves the finite numbers, or where its last step is to be undone.
template <class T>
class Trainer {
public:
    // Everything that the settings point to outlives the trainer. std::invalid_argument where they do not fit.
    explicit Trainer(TrainSettings<T> settings);

    // Steps allocate nothing once the programs are bound to so many threads; where a copy of the state is renewed one
    // may, and for the best weights the first time that they differ from both. A fit that leaves the finite numbers is
    // found at the step's cost or at the end of an epoch; the state is then left as status and progress say. Throws
    // BadIndexError.
    TrainStatus run(const TrainRun& run);

    // Between runs: goes on with other rows, in batches of another size, by programs with the same state and scalars.
    // What the state is, which was the best and how many steps there were stays; no step on the earlier rows can be
    // undone. std::invalid_argument as from the constructor, with nothing changed.
    void take(TrainSettings<T> settings);

    void request_stop() noexcept { stop_.request(); }

    const TrainProgress& progress() const { return progress_; }
    void set_steps(std::uint64_t steps);

    // The lowest cost of an epoch and the parameters after it; before the first one the number that was set, and the
    // state that the first run found.
    double best_cost() const { return best_cost_; }
    void set_best_cost(double cost) { best_cost_ = cost; }
    void load_best();
    // Between runs: the parameters as they are now are the best. `copy`: and the state will not stay as it is.
    void mark_best(bool copy);
    // The best parameters, to where they lie in a copy of the state.
    void copy_best_to(char* state) const;

    // Undoes the last step of a run that ended as it was to end, but keeps the number of steps; after anything else it
    // does nothing. The samples must be those of that run. Returns done, interrupted or stopped.
    TrainStatus step_back(Interrupt* interrupt);

private:
    using Clock = std::chrono::steady_clock;

    struct Turns {
        explicit Turns(const TrainSettings<T>& settings) : full(*settings.full.program) {
            if (settings.last.program != nullptr) last.emplace(*settings.last.program);
        }
        typename Program<T>::Turn full;
        std::optional<typename Program<T>::Turn> last;
    };
    struct Snapshot {
        program::Memory state;
        std::uint64_t steps = 0, epoch = 0;  // before that step of that epoch
        std::size_t epoch_steps = 0;
        double epoch_cost = 0;
    };
    // Where the parameters of the lowest cost are: a copy is made only when they are about to be lost.
    enum class Best { in_snapshot, in_state, in_copy };
    // Steps that are done again.
    struct Again {
        std::uint64_t until;  // not this one
        bool checked;         // the parameters after each step of the last epoch
    };

    static void check(const TrainSettings<T>& settings);
    void make_room(const TrainSettings<T>& settings);
    void begin(const TrainRun& run);
    void bind(int threads);
    TrainStatus epochs(const TrainRun& run);
    TrainStatus epoch(const TrainRun& run, std::uint64_t number, const Again* again);
    TrainStatus step(const TrainRun& run, const TrainProgram<T>& program, std::size_t first_row, std::size_t rows,
                     bool renew);
    TrainStatus replay(const TrainRun& run, TrainStatus found);
    TrainStatus steps_again(const TrainRun& run, std::uint64_t last_epoch, const Again& again);
    const double* scalars(const TrainRun& run) const;
    void keep_scalars(const TrainRun& run);
    void take_snapshot(const char* state, std::uint64_t epoch, bool best_wanted);
    void save_best_before_change();
    void copy_best(const char* state);
    bool parameters_finite() const;
    const char* best_in_place() const;
    bool out_of(const TrainRun& run, TrainStatus& status) const;
    std::size_t state_bytes() const { return settings_.full.program->state_bytes(); }
    std::size_t epoch_length() const { return (settings_.rows + settings_.batch - 1) / settings_.batch; }

    TrainSettings<T> settings_;
    TrainProgress progress_;
    int threads_ = 0;
    bool goes_on_ = false;          // the state is what whole epochs since the snapshot have led to
    bool undoable_ = false;         // the state is what steps since the snapshot have led to
    std::uint64_t first_step_ = 0;  // of the run
    Clock::time_point started_;
    std::vector<double> scalars_;   // of the steps from the snapshot to first_step_
    std::vector<std::int64_t> order_;
    std::vector<std::uint64_t> workspace_;
    Snapshot snapshot_;
    Best best_at_ = Best::in_snapshot;
    std::size_t parameters_bytes_ = 0;
    program::Memory best_;
    double best_cost_;
    StopFlag stop_;
};

}  // namespace lw
