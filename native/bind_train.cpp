// The class Trainer of layerwise._native, once for each precision.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "bind_program.h"
#include "pool.h"
#include "threads.h"
#include "train.h"

namespace nb = nanobind;

namespace lw {
namespace {

using Table = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Ranges = nb::ndarray<const std::int64_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;
using Address = nb::ndarray<std::int64_t, nb::shape<2>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Record = nb::ndarray<double, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

const char* name_of(TrainStatus status) {
    switch (status) {
        case TrainStatus::done:
            return "done";
        case TrainStatus::interrupted:
            return "interrupted";
        case TrainStatus::stopped:
            return "stopped";
        case TrainStatus::infinite_cost:
            return "infinite cost";
        case TrainStatus::infinite_weights:
            return "infinite weights";
        case TrainStatus::runaway:
            return "runaway";
        case TrainStatus::out_of_steps:
            return "out of steps";
        case TrainStatus::out_of_time:
            return "out of time";
    }
    return "";
}

// A trainer with what its settings point to.
template <class T>
class BoundTrainer {
public:
    BoundTrainer(nb::object full, nb::object last, nb::object state, nb::object bound, nb::object last_bound,
                 nb::object sources, std::size_t rows, std::size_t batch, const Ranges& parameters, std::size_t cost,
                 bool shuffled, std::uint64_t seed, std::uint64_t stream, nb::object address)
        : binding_(bind({full, last, state, bound, last_bound, sources, address}, rows, batch, cost, shuffled,
                        fixed(parameters, seed, stream))),
          trainer_(binding_.settings) {}

    // Other rows, and programs for them. Nothing is changed where they do not fit.
    void take(nb::object full, nb::object last, nb::object bound, nb::object last_bound, nb::object sources,
              std::size_t rows, std::size_t batch, bool shuffled) {
        check_idle();
        const Objects& old = binding_.objects;
        Binding next = bind({full, last, old.state, bound, last_bound, sources, old.address}, rows, batch, binding_.cost,
                            shuffled, binding_.settings);
        if (next.program->state_bytes() != binding_.program->state_bytes() ||
            next.program->scalars() != binding_.program->scalars()) {
            refuse("the programs must have the state and the scalars of those before them");
        }
        trainer_.take(next.settings);
        binding_ = std::move(next);
        holds_rows_ = true;
    }

    // Lets go of the arrays; before the next run there must be others.
    void release() {
        check_idle();
        holds_rows_ = false;
        binding_.objects.bound = binding_.objects.last_bound = binding_.objects.sources = nb::none();
        binding_.arrays = nb::list();
        binding_.sources.reset();
    }

    std::string run(std::uint64_t first_epoch, std::size_t epochs, const Table& scalars, const Record& costs,
                    const Record& seconds, double limit, bool keep_best, bool best_by_cost, std::size_t first_step,
                    double epoch_cost, std::uint64_t steps_limit, double seconds_limit, int threads) try {
        check_ready();
        const Program<T>* const program = binding_.program;
        const std::size_t rows = binding_.settings.rows, batch = binding_.settings.batch;
        const std::size_t epoch_steps = (rows + batch - 1) / batch;
        if (first_step >= epoch_steps) refuse("first_step must be below the ", epoch_steps, " steps of an epoch");
        const std::uint64_t done = trainer_.progress().steps, left = steps_limit > done ? steps_limit - done : 0;
        const std::size_t steps = std::min<std::uint64_t>(epochs == 0 ? 0 : epochs * epoch_steps - first_step, left);
        if (scalars.shape(1) != program->scalars() || (scalars.shape(0) != 1 && scalars.shape(0) < steps)) {
            refuse("scalars must have ", program->scalars(), " columns and 1 or ", steps, " rows; got ",
                   scalars.shape(1), " and ", scalars.shape(0));
        }
        if (costs.size() < epochs || seconds.size() < epochs) refuse("costs and seconds must hold ", epochs, " numbers");
        Interrupt interrupt(python_signal_raised);
        const TrainRun run{first_epoch,
                           epochs,
                           first_step,
                           epoch_cost,
                           scalars.data(),
                           scalars.shape(0) == 1 ? 0 : scalars.shape(1),
                           threads > 0 ? threads : usable_processors(),
                           limit,
                           steps_limit,
                           seconds_limit,
                           keep_best,
                           best_by_cost,
                           costs.data(),
                           seconds.data(),
                           &interrupt};
        TrainStatus status;
        {
            const Busy busy(running_);
            const WithoutInterpreter released;
            status = trainer_.run(run);
        }
        if (status == TrainStatus::interrupted) nb::raise_python_error();
        return name_of(status);
    } catch (const BadIndexError& error) {
        raise_bad_index(error);
    }

    void step_back() try {
        check_ready();
        Interrupt interrupt(python_signal_raised);
        TrainStatus status;
        {
            const Busy busy(running_);
            const WithoutInterpreter released;
            status = trainer_.step_back(&interrupt);
        }
        if (status == TrainStatus::interrupted) nb::raise_python_error();
    } catch (const BadIndexError& error) {
        raise_bad_index(error);
    }

    void copy_best(const Bytes& state) {
        if (state.size() != binding_.program->state_bytes()) refuse("the array must have the size of the state");
        trainer_.copy_best_to(reinterpret_cast<char*>(state.data()));
    }

    Trainer<T>& trainer() { return trainer_; }

private:
    // What came from Python, kept alive.
    struct Objects {
        nb::object full, last, state, bound, last_bound, sources, address;
    };

    struct Binding {
        Objects objects;
        nb::list arrays;  // each of those bound: the sequences may change
        Program<T>* program;
        std::unique_ptr<Sources> sources;
        std::size_t cost;
        TrainSettings<T> settings;
    };

    // In a run, from any thread, the arrays must stay; the interpreter's lock guards the count.
    class Busy {
    public:
        explicit Busy(int& count) : count_(count) { ++count_; }
        ~Busy() { --count_; }
        Busy(const Busy&) = delete;
        Busy& operator=(const Busy&) = delete;

    private:
        int& count_;
    };

    void check_idle() const {
        if (running_ != 0) refuse("the trainer is running");
    }

    void check_ready() const {
        if (!holds_rows_) refuse("the trainer holds no rows: take some first");
    }

    static TrainSettings<T> fixed(const Ranges& parameters, std::uint64_t seed, std::uint64_t stream) {
        TrainSettings<T> s{};
        for (std::size_t i = 0; i < parameters.shape(0); ++i) {
            const std::int64_t* const range = parameters.data() + 2 * i;
            if (range[0] < 0 || range[1] < 0) refuse("a range of parameters is negative");
            s.parameters.push_back({static_cast<std::size_t>(range[0]), static_cast<std::size_t>(range[1])});
        }
        s.seed = seed;
        s.stream = stream;
        return s;
    }

    // `s`: what does not depend on the rows.
    static Binding bind(Objects objects, std::size_t rows, std::size_t batch, std::size_t cost, bool shuffled,
                        TrainSettings<T> s) {
        if (batch == 0 || rows == 0) refuse("rows and batch must be at least 1");
        Binding b{std::move(objects), nb::list(), nullptr, nullptr, cost, std::move(s)};
        b.program = nb::cast<Program<T>*>(b.objects.full);
        b.sources = std::make_unique<Sources>(b.program->sources(), b.objects.sources, rows);
        b.settings.full = program(b, b.objects.full, b.objects.bound, batch);
        b.settings.last = program(b, b.objects.last, b.objects.last_bound, rows % batch);
        b.settings.state = checked_arrays(*b.program, b.objects.bound, b.objects.state).state;
        b.settings.sources = b.sources->sources();
        b.settings.rows = rows;
        b.settings.batch = batch;
        b.settings.shuffled = shuffled;
        b.settings.counter = b.objects.address.is_none() ? nullptr : counter(b.objects.address, b.settings);
        return b;
    }

    static TrainProgram<T> program(Binding& b, const nb::object& object, const nb::object& bound, std::size_t rows) {
        if (object.is_none()) return {};
        Program<T>& p = *nb::cast<Program<T>*>(object);
        Arrays arrays = checked_arrays(p, bound, b.objects.state);
        if (p.sources().size() != b.program->sources().size() || p.scalars() != b.program->scalars() ||
            p.state_bytes() != b.program->state_bytes()) {
            refuse("both programs must have the same sources, scalars and state");
        }
        for (std::size_t i = 0; i < p.sources().size(); ++i) {
            const SourceUse &one = p.sources()[i], &other = b.program->sources()[i];
            if (one.used != other.used || one.integer != other.integer || one.columns != other.columns) {
                refuse("both programs must use source ", i, " in the same way");
            }
        }
        if (p.gathered_rows() != 0 && p.gathered_rows() != rows) {
            refuse("a program of ", rows, " rows is needed; it gathers ", p.gathered_rows());
        }
        if (b.cost >= arrays.bound.size() || !p.bound()[b.cost].written || p.bound()[b.cost].integer ||
            p.bound()[b.cost].elements == 0) {
            refuse("bound[", b.cost, "] is not where the program writes its cost");
        }
        b.arrays.append(arrays.kept);
        return {&p, arrays.bound, static_cast<const T*>(arrays.bound[b.cost])};
    }

    // The second number of an address that the programs read and nobody else writes.
    static std::int64_t* counter(const nb::object& object, const TrainSettings<T>& s) {
        Address address;
        if (!nb::try_cast(object, address, false)) refuse("address must be a writable C-contiguous array of 2 int64");
        for (const TrainProgram<T>* p : {&s.full, &s.last}) {
            if (p->program != nullptr && !reads(*p, address.data())) {
                refuse("address must be one of the bound arrays of each program, which reads 2 integers there");
            }
        }
        return address.data() + 1;
    }

    static bool reads(const TrainProgram<T>& p, const void* address) {
        const std::vector<BoundArray>& arrays = p.program->bound();
        for (std::size_t i = 0; i < arrays.size(); ++i) {
            const BoundArray& array = arrays[i];
            const bool fits = array.used && array.integer && !array.written && array.elements == 2;
            if (fits && p.bound[i] == address) return true;
        }
        return false;
    }

    Binding binding_;
    Trainer<T> trainer_;
    bool holds_rows_ = true;
    int running_ = 0;
};

template <class T>
void bind(nb::module_& m, const char* name) {
    using Bound = BoundTrainer<T>;
    using namespace nb::literals;
    nb::class_<Bound>(m, name)
        .def(nb::init<nb::object, nb::object, nb::object, nb::object, nb::object, nb::object, std::size_t, std::size_t,
                      const Ranges&, std::size_t, bool, std::uint64_t, std::uint64_t, nb::object>(),
             "full"_a, "last"_a.none(), nb::kw_only(), "state"_a, "bound"_a, "last_bound"_a.none() = nb::none(),
             "sources"_a.none() = nb::none(), "rows"_a, "batch"_a, "parameters"_a, "cost"_a, "shuffled"_a = true,
             "seed"_a = 0, "stream"_a = 0, "address"_a.none() = nb::none(),
             "Programs of a step, for whole batches and for the remaining rows. parameters: (n, 2), the byte offset and "
             "the number of elements of each in the state. cost: which of the bound arrays the programs write it to. "
             "address: an array that both read, (2,) int64; its second number becomes that of each step, from 1.")
        .def("run", &Bound::run, "first_epoch"_a, "epochs"_a, "scalars"_a, "costs"_a.noconvert(),
             "seconds"_a.noconvert(), nb::kw_only(), "limit"_a = std::numeric_limits<double>::infinity(),
             "keep_best"_a = false, "best_by_cost"_a = true, "first_step"_a = 0, "epoch_cost"_a = 0.0,
             "steps_limit"_a = std::numeric_limits<std::uint64_t>::max(),
             "seconds_limit"_a = std::numeric_limits<double>::infinity(), "threads"_a = 0,
             "Runs epochs, writes their costs and seconds, and returns why it ended: done, stopped, infinite cost, "
             "infinite weights, runaway, out of steps or out of time. Ctrl-C leaves as KeyboardInterrupt, after a whole "
             "step. scalars: one row for each step of this call, or one for all. first_step, epoch_cost: where the first "
             "epoch goes on. steps_limit: in all calls; seconds_limit: of this one.")
        .def("take", &Bound::take, "full"_a, "last"_a.none(), nb::kw_only(), "bound"_a, "last_bound"_a.none() = nb::none(),
             "sources"_a.none() = nb::none(), "rows"_a, "batch"_a, "shuffled"_a = true,
             "Go on with other rows, by programs for them; state, best parameters and the number of steps stay.")
        .def("release", &Bound::release, "Let go of the arrays; the next run is after `take`.")
        .def("stop", [](Bound& b) { b.trainer().request_stop(); }, "From any thread: end before the next step.")
        .def("load_best", [](Bound& b) { b.trainer().load_best(); },
             "Put the parameters of the lowest cost into the state; what was packed of them may stay as it is.")
        .def("mark_best", [](Bound& b, bool copy) { b.trainer().mark_best(copy); }, "copy"_a = false,
             "The parameters as they are now are the best; copy: and the state will not stay as it is.")
        .def("copy_best", &Bound::copy_best, "state"_a.noconvert(),
             "Write the best parameters to where they lie in an array like the state.")
        .def("step_back", &Bound::step_back,
             "Undo the last step of a run that was done; the number of steps stays. Ctrl-C leaves as KeyboardInterrupt.")
        .def_prop_rw("best_cost", [](Bound& b) { return b.trainer().best_cost(); },
                     [](Bound& b, double cost) { b.trainer().set_best_cost(cost); })
        .def_prop_rw("steps", [](Bound& b) { return b.trainer().progress().steps; },
                     [](Bound& b, std::uint64_t steps) { b.trainer().set_steps(steps); }, "Whole steps in all runs.")
        .def_prop_ro("runs", [](Bound& b) { return b.trainer().progress().runs; },
                     "That were begun: the rest is of the last one.")
        .def_prop_ro("epoch", [](Bound& b) { return b.trainer().progress().epoch; }, "The number last begun.")
        .def_prop_ro("epochs_done", [](Bound& b) { return b.trainer().progress().epochs_done; }, "In the last run.")
        .def_prop_ro("epoch_steps", [](Bound& b) { return b.trainer().progress().epoch_steps; })
        .def_prop_ro("cost", [](Bound& b) { return b.trainer().progress().cost; },
                     "Of the last step, whole or not: the infinite one where that ended the run.")
        .def_prop_ro("epoch_cost", [](Bound& b) { return b.trainer().progress().epoch_cost; },
                     "The sum of cost times rows over the steps of the epoch.");
}

}  // namespace

void bind_train(nb::module_& m) {
    bind<float>(m, "Trainer32");
    bind<double>(m, "Trainer64");
}

}  // namespace lw
