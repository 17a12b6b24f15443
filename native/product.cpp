#include "product.h"

#include "isa_tables.h"

namespace lw {

LW_IN_EACH_SET(extern const Products<float> products_f32; extern const Products<double> products_f64;)

template <>
const Products<float>& products<float>(Isa isa) {
    return LW_OF_SET(isa, products_f32);
}

template <>
const Products<double>& products<double>(Isa isa) {
    return LW_OF_SET(isa, products_f64);
}

}  // namespace lw
