#include "isa_tables.h"
#include "math_table.h"

namespace lw {

LW_IN_EACH_SET(extern const MathTable math_table;)

const MathTable& math_table(Isa isa) { return LW_OF_SET(isa, math_table); }

}  // namespace lw
