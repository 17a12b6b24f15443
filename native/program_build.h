// Instructions checked and made ready to run. Each kernel has one function that does both, so that nothing runs that
// was not checked, and a shape is written once.
#pragma once

#include <memory>
#include <vector>

#include "program_step.h"

namespace lw::program {

// An operand as messages name it.
struct Label {
    const KernelFacts& known;
    int i;
};
void append(std::string& out, const Label& label);

// An operand as the check for races sees it.
struct Access {
    std::size_t value;
    Reach reach;
    bool written;
};

// What a program owns besides its steps, which keep addresses of these.
template <class T>
struct MapTable {
    MapCode<T> code;
    std::vector<MapMode> modes;
    std::vector<std::uint16_t> results;
    std::vector<MapOp> ops;
    std::unique_ptr<std::byte[]> prepared;
};

struct CopyTable {
    std::vector<CopyDim> dims;  // the first one runs over rows
    std::ptrdiff_t out, x;      // where it begins
};

struct ContractTable {
    std::vector<ContractDim> dims;
};

template <class T>
struct Tables {
    std::vector<T> options;  // the numbers of the program, rounded
    std::vector<std::unique_ptr<MapTable<T>>> maps;
    std::vector<std::unique_ptr<CopyTable>> copies;
    std::vector<std::unique_ptr<ContractTable>> contracts;
};

struct Gathers {
    std::vector<SourceUse> sources;
    std::size_t widest = 0;  // of the sources
    std::size_t rows = 0;
    bool used = false;
};

// How much a job is worth.
struct JobFacts {
    double nanoseconds = 0;     // on one thread, roughly
    std::size_t row_bytes = 0;  // of a row in all operands that are taken row by row
    bool products = false;      // a register tile of rows pays
    bool turned = false;        // has an AᵀD
    bool gathers = false;
    bool writes_state = false, writes_bound = false;
};

// One instruction on its way to a step.
template <class T>
class Builder {
public:
    Builder(const Listing& listing, const Job& job, const Instruction& instruction, const Place& place,
            const Kernels<T>& kernels, Tables<T>& tables, Gathers& gathers, JobFacts& facts);

    // Checks and fills `step`, `operands` and `accesses`.
    void build();

    Step<T> step;
    std::vector<Operand> operands;
    std::vector<Access> accesses;

    // For the kernels:

    template <class... Parts>
    void want(bool holds, const Parts&... parts) const {
        program::want(holds, place, parts...);
    }
    bool has(int i) const { return instruction.operands[static_cast<std::size_t>(i)] >= 0; }
    const Value& value(int i) const {
        return listing.values[static_cast<std::size_t>(instruction.operands[static_cast<std::size_t>(i)])];
    }
    Label name(int i) const { return {facts(instruction.kernel), i}; }
    void want_shape(int i, std::size_t rows, std::size_t columns) const;
    void want_dense(int i) const;
    std::size_t number(std::size_t i, const char* what, std::size_t least, std::size_t limit = most) const;
    // Adds operand i, which a tile meets in this way. A packed one is refused, unless the kernel takes it tile by tile.
    void add(int i, bool written, Reach reach, bool may_be_packed = false);
    // The same, or no operand.
    void add_if(bool present, int i, bool written, Reach reach, bool may_be_packed = false);
    // Operand i is the matrix (K, N), packed.
    void want_packed(int i, std::size_t K, std::size_t N) const;
    void cost(double nanoseconds) { job_facts.nanoseconds += nanoseconds; }
    double elements(int i) const { return static_cast<double>(value(i).rows) * static_cast<double>(value(i).columns); }

    const Listing& listing;
    const Job& job;
    const Instruction& instruction;
    const Place place;
    const Kernels<T>& kernels;
    Tables<T>& tables;
    Gathers& gathers;
    JobFacts& job_facts;

private:
    void check_operands();
    std::size_t packed_elements(const Value& v) const;
    void check_aliases() const;
};

// One for each kernel, in program_products.cpp, program_map.cpp, program_rows.cpp, program_layout.cpp,
// program_gather.cpp and program_uniform.cpp.
template <class T>
using Build = void (*)(Builder<T>&);
#define LW_KERNEL(name, Name, ...) \
    template <class T>             \
    void build_##name(Builder<T>& b);
#include "program.def"

#define LW_INSTANTIATE_BUILD(name)              \
    template void build_##name(Builder<float>&); \
    template void build_##name(Builder<double>&);

// Whether the memory of two values may meet. Columns of one matrix side by side do not.
bool overlap(const Value& a, const Value& b);

// Refuses jobs of one stage of which one writes what the other reads or writes, tiles of one job that do so, and local
// memory that is read before it is written. Those of instruction i are accesses[first[i]] to accesses[first[i + 1] - 1].
void check_races(const Listing& listing, std::size_t stage, const std::vector<Access>& accesses,
                 const std::vector<std::size_t>& first);

}  // namespace lw::program
