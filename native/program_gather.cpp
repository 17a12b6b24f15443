// Rows of the data as an instruction.
#include "program_build.h"

namespace lw::program {
namespace {

// E: the elements, real or integer.
template <class E, class T>
bool run_gather(const Step<T>& s, const Tile& t, Share<T>& share) {
    const GatherContext& context = *share.gather;
    const Source& source = context.sources[s.n[0]];
    E* const out = operand<E>(s, 0, t, share);
    const auto& kernels = *static_cast<const Gather<E>*>(s.table);
    if (context.rows == nullptr) {
        kernels.range(source, context.first + static_cast<std::int64_t>(t.row), t.rows, out, s.operands[0].stride);
    } else {
        kernels.rows(source, context.rows + t.row, t.rows, out, s.operands[0].stride);
    }
    return true;
}

}  // namespace

template <class T>
void build_gather(Builder<T>& b) {
    b.want(b.gathers.sources.size() > 0, "there are no sources");
    const std::size_t source = b.number(0, "the source", 0, b.gathers.sources.size() - 1);
    const Value& out = b.value(0);
    SourceUse& use = b.gathers.sources[source];
    b.want(!use.used || (use.columns == out.columns && use.integer == out.integer), "source ", source,
           " is taken with another number of columns or as another kind elsewhere");
    b.want(!b.gathers.used || b.gathers.rows == out.rows, "a step gathers ", b.gathers.rows, " rows elsewhere; here ",
           out.rows);
    use = {true, out.integer, out.columns};
    if (!b.gathers.used || use.columns > b.gathers.sources[b.gathers.widest].columns) b.gathers.widest = source;
    b.gathers.used = true;
    b.job_facts.gathers = true;
    b.gathers.rows = out.rows;
    b.add(0, true, Reach::row);
    b.step.run = out.integer ? run_gather<std::int64_t, T> : run_gather<T, T>;
    b.step.table = out.integer ? static_cast<const void*>(&b.kernels.gather_integers) : &b.kernels.gather;
    b.step.n[0] = source;
    b.cost(b.elements(0) * sizeof(T) / 5);
}

LW_INSTANTIATE_BUILD(gather)

}  // namespace lw::program
