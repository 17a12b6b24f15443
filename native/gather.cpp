#include "gather.h"

#include "isa_tables.h"

namespace lw {

LW_IN_EACH_SET(extern const Gather<float> gather_f32; extern const Gather<double> gather_f64;
               extern const Gather<std::int64_t> gather_i64;)

template <>
const Gather<float>& gather<float>(Isa isa) {
    return LW_OF_SET(isa, gather_f32);
}

template <>
const Gather<double>& gather<double>(Isa isa) {
    return LW_OF_SET(isa, gather_f64);
}

template <>
const Gather<std::int64_t>& gather<std::int64_t>(Isa isa) {
    return LW_OF_SET(isa, gather_i64);
}

}  // namespace lw
