// Random numbers as an instruction.
#include "program_build.h"

namespace lw::program {
namespace {

template <class T>
bool run_uniform(const Step<T>& s, const Tile& t, Share<T>& share) {
    const std::int64_t* const address = operand<const std::int64_t>(s, 1, t, share);
    share.kernels->uniform.fill({static_cast<std::uint64_t>(address[0]), static_cast<std::uint64_t>(address[1]),
                                 static_cast<std::uint32_t>(s.n[0]), static_cast<int>(s.n[1])},
                                t.row, t.rows, s.columns, operand<T>(s, 0, t, share), s.operands[0].stride);
    return true;
}

}  // namespace

template <class T>
void build_uniform(Builder<T>& b) {
    const std::size_t stream = b.number(0, "the stream", 0, most_uniform_stream);
    const std::size_t bits = b.number(1, "the bits of a number", 16, 24);
    b.want(bits == 16 || bits == 24, "the bits of a number must be 16 or 24; got ", bits);
    b.want_shape(1, 1, 2);
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::whole);
    b.step.run = run_uniform<T>;
    b.step.columns = b.value(0).columns;
    b.step.n[0] = stream;
    b.step.n[1] = bits;
    b.cost(b.elements(0) * (bits == 16 ? 0.3 : 0.5));
}

LW_INSTANTIATE_BUILD(uniform)

}  // namespace lw::program
