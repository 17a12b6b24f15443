// Runs elementwise programs (see map.h). Compiled once for each instruction set (see simd.h).
#include "map.h"

#include "map_loops.h"
#include "math_table.h"

namespace lw::LW_NAMESPACE {

extern const MathTable math_table;

namespace {

// The registers of a block fill no more than this, to stay in the first-level cache (32 KiB on most processors) with
// the inputs and outputs that are used in place.
constexpr std::size_t scratch_bytes = 24 * 1024;
constexpr std::size_t longest_block = 512;

using Set = std::uint64_t;  // of registers
static_assert(map_registers <= 64);

constexpr Set bit(int i) { return Set(1) << i; }

template <class T>
LW_INLINE const ArrayFunction<T>* unary_functions() {
    if constexpr (sizeof(T) == 4) {
        return math_table.float32;
    } else {
        return math_table.float64;
    }
}

LW_INLINE Set operands(const MapOp& op) {
    Set set = bit(op.a);
    if (op.kernel >= unary_count) set |= bit(op.b);
    if (op.kernel >= unary_count + binary_count) set |= bit(op.c);
    return set;
}

// Each row of an operand that is not dense, from or to a dense block.
template <class T>
void copy_rows(T* out, std::size_t out_stride, const T* from, std::size_t stride, std::size_t rows,
               std::size_t columns) {
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < columns; ++c) out[r * out_stride + c] = from[r * stride + c];
    }
}

template <class T>
class Run {
public:
    Run(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
        std::size_t columns)
        : code_(code), inputs_(inputs), outputs_(outputs), rows_(rows), columns_(columns) {}

    LW_INLINE void run() {
        arrange();
        compute_constants();
        place_outputs();
        if (group_ > 1) expand_row_vectors();
        for (std::size_t r = 0; r < rows_; r += group_) {
            const std::size_t rows = rows_ - r < group_ ? rows_ - r : group_;
            place_column_vectors(r, rows);
            for (std::size_t c = 0; c < columns_; c += chunk_) {
                block(r, rows, c, columns_ - c < chunk_ ? columns_ - c : chunk_);
            }
        }
    }

private:
    // Sorts the inputs, and chooses the blocks: parts of one row, or some rows where rows are short.
    void arrange() {
        bool dense = true;
        for (int i = 0; i < code_.inputs; ++i) {
            strides_[i] = inputs_[i].stride;
            switch (code_.modes[i]) {
                case MapMode::full:
                    full_ |= bit(i);
                    break;
                case MapMode::row_vector:
                    (rows_ == 1 ? full_ : columns_ == 1 ? constant_ : row_vectors_) |= bit(i);
                    break;
                case MapMode::column_vector:
                    (rows_ == 1 ? constant_ : columns_ == 1 ? full_ : column_vectors_) |= bit(i);
                    break;
                case MapMode::scalar:
                    constant_ |= bit(i);
                    break;
            }
            if ((full_ & bit(i)) != 0 && rows_ > 1 && strides_[i] != columns_) {
                dense = false;
                strided_ |= bit(i);
            }
            at_[i] = const_cast<T*>(inputs_[i].data);  // not written: no op has an input for its result
        }
        for (int k = 0; k < code_.outputs; ++k) dense &= rows_ == 1 || outputs_[k].stride == columns_;

        std::size_t longest = scratch_bytes / sizeof(T) / static_cast<std::size_t>(code_.registers);
        longest = longest < longest_block ? longest / (4 * width<T>) * (4 * width<T>) : longest_block;
        if (dense && (row_vectors_ | column_vectors_) == 0) {
            columns_ *= rows_;
            rows_ = 1;
        }
        // Copying rows that are not dense costs about as much as an op. A column vector is expanded by whole vectors,
        // which takes the room of one more.
        if (rows_ > 1 && columns_ <= (dense ? longest / 2 : longest / 8)) {
            group_ = (longest - width<T>) / columns_;
        }
        chunk_ = columns_ < longest ? columns_ : longest;
        single_ = constant_ | (group_ == 1 ? column_vectors_ : 0);
        for (int i = 0; i < code_.registers; ++i) blocks_[i] = scratch_ + static_cast<std::size_t>(i) * longest;
        for (int i = code_.inputs; i < code_.registers; ++i) at_[i] = blocks_[i];
    }

    // Ops on constants are run once, where no other op writes the same register.
    void compute_constants() {
        Set written = 0, again = 0;
        for (int i = 0; i < code_.ops; ++i) {
            const Set out = bit(code_.code[i].out);
            again |= written & out;
            written |= out;
        }
        for (int i = 0; i < code_.ops; ++i) {
            const MapOp& op = code_.code[i];
            const Set out = bit(op.out);
            if ((operands(op) & ~constant_) != 0 || (again & out) != 0) continue;
            execute(op, 1);
            constant_ |= out;
            single_ |= out;
            computed_ |= out;
        }
    }

    // An output's register is the output itself, unless an input in the same memory is still to be read.
    void place_outputs() {
        for (int k = 0; k < code_.outputs; ++k) {
            const int r = code_.results[k];
            const bool in_rows = group_ > 1 && outputs_[k].stride != columns_;
            if (in_rows || ((constant_ | direct_) & bit(r)) != 0 || read_after(r, k)) {
                copied_ |= bit(k);
            } else {
                direct_ |= bit(r);
            }
        }
    }

    bool read_after(int result, int k) const {
        Set same = 0;
        const T* const begin = outputs_[k].data;
        const T* const end = begin + (rows_ - 1) * outputs_[k].stride + columns_;
        for (int i = 0; i < code_.inputs; ++i) {
            if ((full_ & bit(i)) == 0) continue;
            const T* const first = inputs_[i].data;
            if (first < end && begin < first + (rows_ - 1) * strides_[i] + columns_) same |= bit(i);
        }
        if (same == 0) return false;
        bool written = false;
        for (int i = 0; i < code_.ops; ++i) {
            if (written && (operands(code_.code[i]) & same) != 0) return true;
            written |= code_.code[i].out == result;
        }
        return false;
    }

    void expand_row_vectors() {
        for (int i = 0; i < code_.inputs; ++i) {
            if ((row_vectors_ & bit(i)) == 0) continue;
            at_[i] = blocks_[i];
            copy_rows<T>(at_[i], columns_, inputs_[i].data, 0, group_, columns_);
        }
    }

    void place_column_vectors(std::size_t r, std::size_t rows) {
        for (int i = 0; i < code_.inputs; ++i) {
            if ((column_vectors_ & bit(i)) == 0) continue;
            const T* const column = inputs_[i].data + r * strides_[i];
            if (group_ == 1) {
                at_[i] = const_cast<T*>(column);
                continue;
            }
            at_[i] = blocks_[i];
            for (std::size_t j = 0; j < rows; ++j) {
                const Vector<T> x = all<T>(column[j * strides_[i]]);
                for (std::size_t c = 0; c < columns_; c += width<T>) store<T>(at_[i] + j * columns_ + c, x);
            }
        }
    }

    LW_INLINE void block(std::size_t r, std::size_t rows, std::size_t c, std::size_t columns) {
        for (int i = 0; i < code_.inputs; ++i) {
            if ((full_ & bit(i)) != 0) {
                const T* const from = inputs_[i].data + r * strides_[i] + c;
                if (group_ > 1 && (strided_ & bit(i)) != 0) {
                    at_[i] = blocks_[i];
                    copy_rows<T>(at_[i], columns, from, strides_[i], rows, columns);
                } else {
                    at_[i] = const_cast<T*>(from);
                }
            } else if (group_ == 1 && (row_vectors_ & bit(i)) != 0) {
                at_[i] = const_cast<T*>(inputs_[i].data) + c;
            }
        }
        for (int k = 0; k < code_.outputs; ++k) {
            if ((copied_ & bit(k)) == 0) at_[code_.results[k]] = outputs_[k].data + r * outputs_[k].stride + c;
        }
        for (int i = 0; i < code_.ops; ++i) {
            const MapOp& op = code_.code[i];
            if ((computed_ & bit(op.out)) == 0) execute(op, rows * columns);
        }
        for (int k = 0; k < code_.outputs; ++k) {
            if ((copied_ & bit(k)) == 0) continue;
            const int result = code_.results[k];
            T* const out = outputs_[k].data + r * outputs_[k].stride + c;
            if ((constant_ & bit(result)) == 0) {
                copy_rows<T>(out, outputs_[k].stride, at_[result], columns, rows, columns);
            } else {
                for (std::size_t j = 0; j < rows; ++j) fill<T>(out + j * outputs_[k].stride, columns, at_[result]);
            }
        }
    }

    LW_INLINE void execute(const MapOp& op, std::size_t n) const {
        T* const out = at_[op.out];
        if (op.kernel < unary_count) {
            const ArrayFunction<T> f = unary_functions<T>()[op.kernel];
            const bool one = (single_ & bit(op.a)) != 0;
            f(at_[op.a], out, one ? 1 : n, code_.options + op.option);
            if (one && n > 1) fill<T>(out, n, out);
        } else if (op.kernel < unary_count + binary_count) {
            const unsigned ones = static_cast<unsigned>((single_ >> op.a & 1) | (single_ >> op.b & 1) << 1);
            binary_functions<T>[op.kernel - unary_count][ones](at_[op.a], at_[op.b], out, n);
        } else {
            const unsigned ones = static_cast<unsigned>((single_ >> op.a & 1) | (single_ >> op.b & 1) << 1 |
                                                        (single_ >> op.c & 1) << 2);
            ternary_functions<T>[op.kernel - unary_count - binary_count][ones](at_[op.a], at_[op.b], at_[op.c], out, n);
        }
    }

    const MapCode<T>& code_;
    const MapInput<T>* const inputs_;
    const MapOutput<T>* const outputs_;
    std::size_t rows_, columns_;
    std::size_t group_ = 1, chunk_ = 0;  // of a block: rows, columns
    // Inputs.
    Set full_ = 0, row_vectors_ = 0, column_vectors_ = 0;
    Set strided_ = 0;  // full ones that are not dense
    // Registers.
    Set constant_ = 0;  // one number for the whole run
    Set single_ = 0;    // one number for a block
    Set computed_ = 0;  // constants that are results of ops
    Set direct_ = 0;    // stand in an output
    Set copied_ = 0;    // outputs (by their own number) that do not
    std::size_t strides_[map_registers];
    T* at_[map_registers];      // where each register is now
    T* blocks_[map_registers];  // its own memory
    alignas(64) T scratch_[scratch_bytes / sizeof(T)];
};

template <class T>
void run(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
         std::size_t columns) {
    if (rows == 0 || columns == 0) return;
    Run<T>(code, inputs, outputs, rows, columns).run();
}

}  // namespace

extern const Maps<float> maps_f32;
extern const Maps<double> maps_f64;
const Maps<float> maps_f32 = {run<float>};
const Maps<double> maps_f64 = {run<double>};

}  // namespace lw::LW_NAMESPACE
