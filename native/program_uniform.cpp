// Random numbers as an instruction.
#include "program_build.h"

namespace lw::program {
namespace {

template <class T>
bool run_uniform(const Step<T>& s, const Tile& t, Share<T>& share) {
    const std::int64_t* const address = operand<const std::int64_t>(s, 1, t, share);
    UniformMask<T> mask;
    if (s.n[2] != 0) mask = {*operand<const T>(s, 2, t, share), *operand<const T>(s, 3, t, share)};
    share.kernels->uniform.fill({static_cast<std::uint64_t>(address[0]), static_cast<std::uint64_t>(address[1]),
                                 static_cast<std::uint32_t>(s.n[0]), static_cast<int>(s.n[1])},
                                t.row, t.rows, s.columns, operand<T>(s, 0, t, share), s.operands[0].stride, s.n[2] != 0 ? &mask : nullptr);
    return true;
}

}  // namespace

template <class T>
void build_uniform(Builder<T>& b) {
    const std::size_t stream = b.number(0, "the stream", 0, most_uniform_stream);
    const std::size_t bits = b.number(1, "the bits of a number", 16, 24);
    b.want(bits == 16 || bits == 24, "the bits of a number must be 16 or 24; got ", bits);
    b.want_shape(1, 1, 2);
    const bool masks = b.has(2);
    b.want(masks == b.has(3), "a mask has a threshold and a factor, or neither");
    if (masks) {
        b.want_shape(2, 1, 1);
        b.want_shape(3, 1, 1);
    }
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::whole);
    b.add_if(masks, 2, false, Reach::whole);
    b.add_if(masks, 3, false, Reach::whole);
    b.step.run = run_uniform<T>;
    b.step.columns = b.value(0).columns;
    b.step.n[0] = stream;
    b.step.n[1] = bits;
    b.step.n[2] = masks;
    b.cost(b.elements(0) * (bits == 16 ? 0.3 : 0.5));
}

LW_INSTANTIATE_BUILD(uniform)

}  // namespace lw::program
