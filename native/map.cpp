#include "isa_tables.h"
#include "prepared_map.h"

namespace lw {
namespace {

struct Facts {
    const char* name;
    int arity, options;
};

constexpr Facts facts[] = {
#define LW_UNARY(name, Name, options) {#name, 1, options},
#define LW_BINARY(name, Name) {#name, 2, 0},
#define LW_TERNARY(name, Name) {#name, 3, 0},
#include "kernels.def"
};

}  // namespace

int map_kernel_count() { return static_cast<int>(sizeof facts / sizeof *facts); }
const char* map_kernel_name(int kernel) { return facts[kernel].name; }
int map_kernel_arity(int kernel) { return facts[kernel].arity; }
int map_kernel_options(int kernel) { return facts[kernel].options; }

LW_IN_EACH_SET(extern const Maps<float> maps_f32; extern const Maps<double> maps_f64;)

template <>
const Maps<float>& maps<float>(Isa isa) {
    return LW_OF_SET(isa, maps_f32);
}

template <>
const Maps<double>& maps<double>(Isa isa) {
    return LW_OF_SET(isa, maps_f64);
}

template <class T>
PreparedMap<T>::PreparedMap(const MapCode<T>& code, Isa isa)
    : run_(maps<T>(isa).run_prepared), memory_(new std::byte[maps<T>(isa).prepared_size(code)]) {
    maps<T>(isa).prepare(code, memory_.get());
}

template class PreparedMap<float>;
template class PreparedMap<double>;

}  // namespace lw
