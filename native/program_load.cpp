#include <algorithm>

#include "program_loaded.h"

namespace lw::program {
namespace {

std::vector<BoundArray> bound_arrays(const Listing& listing) {
    std::vector<BoundArray> arrays(listing.bound);
    for (const Value& v : listing.values) {
        if (v.space != Space::bound) continue;
        BoundArray& array = arrays[v.offset];
        want(!array.used || array.integer == v.integer, {}, "bound array ", v.offset, " is real and integer");
        array.used = true;
        array.integer = v.integer;
        array.written |= v.written;
        array.elements = std::max(array.elements, v.extent());
    }
    return arrays;
}

bool indexes(Kernel kernel) { return kernel == Kernel::Take || kernel == Kernel::OneHot || kernel == Kernel::Scatter; }

// Of a row in all values that are taken row by row, each counted once.
std::size_t row_bytes(const Listing& listing, std::vector<Access> accesses) {
    std::sort(accesses.begin(), accesses.end(), [](const Access& a, const Access& b) { return a.value < b.value; });
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < accesses.size(); ++i) {
        const Access& a = accesses[i];
        if (i > 0 && accesses[i - 1].value == a.value) continue;
        const Value& v = listing.values[a.value];
        if (a.reach == Reach::tile || a.reach == Reach::row) bytes += times(v.columns, v.element);
    }
    return bytes;
}

// The operands of instructions follow one another; `first` says where each one's accesses begin.
template <class T>
void build_stage(Loaded<T>& program, std::size_t stage, std::vector<Access>& accesses,
                 std::vector<std::size_t>& first) {
    const Listing& listing = program.listing;
    const Stage& s = listing.stages[stage];
    Place place{.stage = static_cast<std::ptrdiff_t>(stage)};
    for (std::size_t j = s.first; j < s.last; ++j) {
        const Job& job = listing.jobs[j];
        place.job = static_cast<std::ptrdiff_t>(j - s.first);
        JobFacts facts;
        for (std::size_t i = job.first; i < job.last; ++i) {
            const Instruction& instruction = listing.instructions[i];
            place.instruction = static_cast<std::ptrdiff_t>(i - job.first);
            place.kernel = program::facts(instruction.kernel).name;
            Builder<T> b(listing, job, instruction, place, program.kernels, program.tables, program.gathers, facts);
            b.build();
            b.step.number = static_cast<std::uint32_t>(i);
            program.steps.push_back(b.step);
            program.operands.insert(program.operands.end(), b.operands.begin(), b.operands.end());
            program.first_operand.push_back(program.operands.size());
            program.indexed |= indexes(instruction.kernel);
            accesses.insert(accesses.end(), b.accesses.begin(), b.accesses.end());
            first.push_back(accesses.size());
        }
        const auto begin = accesses.begin() + static_cast<std::ptrdiff_t>(first[job.first]);
        for (auto access = begin; access != accesses.end(); ++access) {
            const Space space = listing.values[access->value].space;
            facts.writes_state |= access->written && space == Space::state;
            facts.writes_bound |= access->written && space == Space::bound;
        }
        facts.row_bytes = row_bytes(listing, {begin, accesses.end()});
        program.job_facts.push_back(facts);
    }
    check_races(listing, stage, accesses, first);
}

template <class T>
void find_first_change(Loaded<T>& program) {
    const std::vector<Stage>& stages = program.listing.stages;
    const auto any = [&](const Stage& stage, auto is) {
        return std::any_of(program.job_facts.begin() + static_cast<std::ptrdiff_t>(stage.first),
                           program.job_facts.begin() + static_cast<std::ptrdiff_t>(stage.last), is);
    };
    const auto changes = [](const JobFacts& job) { return job.writes_state; };
    std::size_t& s = program.first_change;
    while (s < stages.size() && !any(stages[s], changes)) ++s;
    for (std::size_t i = s; i < stages.size(); ++i) {
        if (any(stages[i], [&](const JobFacts& job) { return job.writes_bound && (i > s || job.writes_state); })) {
            program.results_first = false;
        }
    }
}

}  // namespace

template <class T>
Loaded<T> load(std::span<const std::int64_t> words, std::span<const double> numbers, Isa isa) {
    Loaded<T> program(decode(words, numbers, sizeof(T)), isa);
    program.bound = bound_arrays(program.listing);
    program.gathers.sources.resize(program.listing.sources);
    program.tables.options.assign(program.listing.numbers.begin(), program.listing.numbers.end());
    program.scalars.resize(program.listing.scalars);
    std::vector<Access> accesses;
    std::vector<std::size_t> first{0};
    program.first_operand.push_back(0);
    for (std::size_t s = 0; s < program.listing.stages.size(); ++s) build_stage(program, s, accesses, first);
    find_first_change(program);
    for (std::size_t i = 0; i < program.steps.size(); ++i) {
        program.steps[i].operands = program.operands.data() + program.first_operand[i];
    }
    return program;
}

template Loaded<float> load(std::span<const std::int64_t>, std::span<const double>, Isa);
template Loaded<double> load(std::span<const std::int64_t>, std::span<const double>, Isa);

}  // namespace lw::program
