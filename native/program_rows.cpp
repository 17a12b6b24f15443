// Kernels along the rows as instructions.
#include "program_build.h"

namespace lw::program {
namespace {

// The operands of softmax_cross_entropy stand at these places, with A or without.
enum : int { at_L, at_A, at_Z, at_T };

template <class T>
bool run_softmax(const Step<T>& s, const Tile& t, Share<T>& share) {
    share.kernels->rows.softmax(operand<const T>(s, 1, t, share), s.operands[1].stride, operand<T>(s, 0, t, share),
                                s.operands[0].stride, t.rows, s.n[0], s.n[1]);
    return true;
}

template <class T>
bool run_log_softmax(const Step<T>& s, const Tile& t, Share<T>& share) {
    share.kernels->rows.log_softmax(operand<const T>(s, 1, t, share), s.operands[1].stride,
                                    operand<T>(s, 0, t, share), s.operands[0].stride, t.rows, s.n[0], s.n[1]);
    return true;
}

template <class T>
bool run_softmax_cross_entropy(const Step<T>& s, const Tile& t, Share<T>& share) {
    share.kernels->rows.softmax_cross_entropy(
        operand<const T>(s, at_Z, t, share), s.operands[at_Z].stride, operand<const T>(s, at_T, t, share),
        s.operands[at_T].stride, operand<T>(s, at_L, t, share), s.operands[at_L].stride,
        operand<T>(s, at_A, t, share), s.operands[at_A].stride, t.rows, s.columns);
    return true;
}

template <class T>
bool run_row_reduce(const Step<T>& s, const Tile& t, Share<T>& share) {
    share.kernels->rows.row_reduce(operand<const T>(s, 1, t, share), s.operands[1].stride, operand<T>(s, 0, t, share),
                                   s.operands[0].stride, t.rows, s.n[0], s.n[1], static_cast<Reduction>(s.n[2]));
    return true;
}

// The length of the runs that operand i has `groups` of.
template <class T>
std::size_t run_length(Builder<T>& b, int i, std::size_t groups) {
    const std::size_t columns = b.value(i).columns;
    b.want(columns % groups == 0, columns, " columns are no ", groups, " runs of one length");
    return columns / groups;
}

template <class T>
void build_softmax_like(Builder<T>& b, typename Step<T>::Run run) {
    const std::size_t groups = b.number(0, "groups", 1), length = run_length(b, 0, groups);
    b.want(length > 0, "softmax takes at least one entry");
    b.want_shape(0, b.job.rows, groups * length);
    b.want_shape(1, b.job.rows, groups * length);
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::row);
    b.step.run = run;
    b.step.n[0] = groups;
    b.step.n[1] = length;
    b.cost(b.elements(0) * sizeof(T) / 2);
}

}  // namespace

template <class T>
void build_softmax(Builder<T>& b) {
    build_softmax_like(b, run_softmax<T>);
}

template <class T>
void build_log_softmax(Builder<T>& b) {
    build_softmax_like(b, run_log_softmax<T>);
}

template <class T>
void build_softmax_cross_entropy(Builder<T>& b) {
    const std::size_t columns = b.value(at_Z).columns;
    b.want(columns > 0, "softmax takes at least one entry");
    b.want_shape(at_L, b.job.rows, 1);
    if (b.has(at_A)) b.want_shape(at_A, b.job.rows, columns);
    b.want_shape(at_Z, b.job.rows, columns);
    b.want_shape(at_T, b.job.rows, columns);
    b.add(at_L, true, Reach::row);
    if (b.has(at_A)) {
        b.add(at_A, true, Reach::row);
    } else {
        b.operands.push_back({});
    }
    b.add(at_Z, false, Reach::row);
    b.add(at_T, false, Reach::row);
    b.step.run = run_softmax_cross_entropy<T>;
    b.step.columns = columns;
    b.cost(b.elements(at_Z) * sizeof(T) / 2);
}

template <class T>
void build_row_reduce(Builder<T>& b) {
    const std::size_t groups = b.number(0, "groups", 1), length = run_length(b, 1, groups);
    const auto op = static_cast<Reduction>(b.number(1, "the reduction", 0, 3));
    b.want(length > 0 || op == Reduction::sum || op == Reduction::mean, "no entries have no maximum");
    b.want_shape(0, b.job.rows, groups);
    b.want_shape(1, b.job.rows, groups * length);
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::row);
    b.step.run = run_row_reduce<T>;
    b.step.n[0] = groups;
    b.step.n[1] = length;
    b.step.n[2] = static_cast<std::size_t>(op);
    b.cost(b.elements(1) * sizeof(T) / (op == Reduction::logsumexp ? 2 : 10));
}

LW_INSTANTIATE_BUILD(softmax)
LW_INSTANTIATE_BUILD(log_softmax)
LW_INSTANTIATE_BUILD(softmax_cross_entropy)
LW_INSTANTIATE_BUILD(row_reduce)

}  // namespace lw::program
