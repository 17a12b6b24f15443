#include "program_build.h"

namespace lw::program {

void append(std::string& out, const Label& label) {
    if (label.i < label.known.count()) {
        out += label.known.operands[label.i].name;
    } else {
        out += "operand " + std::to_string(label.i);
    }
}

template <class T>
Builder<T>::Builder(const Listing& l, const Job& j, const Instruction& i, const Place& p, const Kernels<T>& k,
                    Tables<T>& t, Gathers& g, JobFacts& f)
    : listing(l), job(j), instruction(i), place(p), kernels(k), tables(t), gathers(g), job_facts(f) {
    operands.reserve(instruction.operands.size());
    accesses.reserve(instruction.operands.size());
}

template <class T>
void Builder<T>::build() {
    constexpr Build<T> builds[] = {
#define LW_KERNEL(name, Name, ...) build_##name<T>,
#include "program.def"
    };
    const KernelFacts& known = facts(instruction.kernel);
    want(known.cuts || !job.split_columns, "its columns cannot be cut, but those of the job may be");
    if (known.count() > 0) check_operands();
    builds[static_cast<int>(instruction.kernel)](*this);
    check_aliases();
}

// Number and kinds, as in program.def.
template <class T>
void Builder<T>::check_operands() {
    const KernelFacts& known = facts(instruction.kernel);
    const auto n = static_cast<std::size_t>(known.count());
    want(instruction.operands.size() == n, n, " operands expected; got ", instruction.operands.size());
    for (int i = 0; i < known.count(); ++i) {
        const OperandFacts& o = known.operands[i];
        want(has(i) || !o.needed, o.name, " is missing");
        if (!has(i) || o.kind == Kind::either) continue;
        const bool integer = o.kind == Kind::integer;
        want(value(i).integer == integer, o.name, " must be ", integer ? "integer" : "real");
    }
}

template <class T>
void Builder<T>::want_shape(int i, std::size_t rows, std::size_t columns) const {
    const Value& v = value(i);
    want(v.rows == rows && v.columns == columns, name(i), " must be ", rows, " x ", columns, "; got ", v.rows, " x ",
         v.columns);
}

template <class T>
void Builder<T>::want_dense(int i) const {
    const Value& v = value(i);
    want(v.dense(), name(i), " must have no gaps between rows; got ", v.columns, " columns and stride ", v.stride);
}

template <class T>
std::size_t Builder<T>::number(std::size_t i, const char* what, std::size_t least, std::size_t limit) const {
    const std::int64_t n = instruction.ints[i];
    want(n >= 0 && static_cast<std::size_t>(n) >= least && static_cast<std::size_t>(n) <= limit, what,
         " must be from ", least, " to ", limit, "; got ", n);
    return static_cast<std::size_t>(n);
}

template <class T>
void Builder<T>::want_packed(int i, std::size_t K, std::size_t N) const {
    const Value& v = value(i);
    want(v.packed && v.rows == K && v.columns == N, name(i), " must be a packed ", K, " x ", N, " matrix; got ",
         v.packed ? "a packed " : "", v.rows, " x ", v.columns);
}

// How many elements a packed value needs, in a row of a tile where it is local.
template <class T>
std::size_t Builder<T>::packed_elements(const Value& v) const {
    const std::size_t rows = v.space == Space::local ? 1 : v.rows;
    // The largest block is far less than this.
    const bool sane = times(times(rows, v.columns + 4096), sizeof(T)) < most;
    return sane ? kernels.products.packed_size(rows, v.columns) : most;
}

template <class T>
void Builder<T>::add(int i, bool written, Reach reach, bool may_be_packed) {
    const Value& v = value(i);
    const bool by_rows = reach == Reach::tile || reach == Reach::row;
    const bool by_columns = reach == Reach::tile || reach == Reach::column;
    const bool packed = reach == Reach::packed_columns || reach == Reach::packed_rows;
    want(!v.packed || packed || (may_be_packed && reach == Reach::tile), name(i), " must not be packed");
    want(!v.packed || v.empty() || v.stride >= packed_elements(v), name(i), " must have the ", packed_elements(v),
         " elements of a packed ", v.rows, " x ", v.columns, " matrix; got ", v.stride);
    want(!by_rows || v.rows == job.rows, name(i), " must have the job's ", job.rows, " rows; got ", v.rows);
    want(!by_columns || !job.split_columns || v.columns == job.columns, name(i), " must have the job's ", job.columns,
         " columns; got ", v.columns);
    want(reach != Reach::turned || v.columns == job.rows, name(i), " must have as many columns as the job has rows, ",
         job.rows, "; got ", v.columns);
    want(!written || v.space != Space::scalar, name(i), " is a scalar and cannot be written");
    want(!written || v.space != Space::bound || v.written, name(i), " is a bound array that is not to be written");
    Operand o;
    o.value = static_cast<std::uint32_t>(instruction.operands[static_cast<std::size_t>(i)]);
    o.offset = v.offset;
    o.stride = v.stride;
    o.packed = v.packed;
    o.block_rows = v.rows;
    switch (v.space) {
        case Space::bound:
            o.base = first_bound_base + static_cast<std::uint32_t>(v.offset);
            o.offset = 0;
            break;
        case Space::state:
            o.base = state_base;
            break;
        case Space::arena:
            o.base = arena_base;
            break;
        case Space::scalar:
            o.base = scalar_base;
            break;
        case Space::local: {
            o.base = local_base;
            want(!packed, name(i), " cannot be local");
            want(v.rows == job.rows, name(i), " is local and must have the job's ", job.rows, " rows; got ", v.rows);
            want(by_rows || !job.split(), name(i), " is local and not taken row by row; the job must not be split");
            // Its rows in a tile are as long as the tile.
            want(reach == Reach::tile || !job.split_columns, name(i),
                 " is local; where columns may be cut it must be taken tile by tile");
            const std::size_t end = v.offset + times(v.stride, v.element);
            want(end <= job.local_bytes, name(i), " takes local bytes ", v.offset, " to ", end, " a row, of ",
                 job.local_bytes);
            break;
        }
    }
    if (v.space != Space::local) {
        if (by_rows && !v.packed) o.row_step = v.stride * v.element;
        if (reach == Reach::turned) o.row_step = v.element;
        if (by_columns) o.column_step = v.element;
    }
    operands.push_back(o);
    accesses.push_back({static_cast<std::size_t>(instruction.operands[static_cast<std::size_t>(i)]), reach, written});
}

template <class T>
void Builder<T>::add_if(bool present, int i, bool written, Reach reach, bool may_be_packed) {
    if (present) {
        add(i, written, reach, may_be_packed);
    } else {
        operands.push_back({});
    }
}

// An operand that is written meets no other one, unless it is the same rows and columns and the kernel allows it.
template <class T>
void Builder<T>::check_aliases() const {
    const Kernel k = instruction.kernel;
    const auto in_place = [&](std::size_t out, std::size_t in) {
        if (k == Kernel::SoftmaxCrossEntropy) return out == 1 && in == 2 && accesses.size() == 4;  // A is Z
        return k == Kernel::Map || k == Kernel::Softmax || k == Kernel::LogSoftmax;
    };
    for (std::size_t i = 0; i < accesses.size(); ++i) {
        if (!accesses[i].written) continue;
        const Value& a = listing.values[accesses[i].value];
        for (std::size_t j = 0; j < accesses.size(); ++j) {
            if (j == i || (accesses[j].written && j < i)) continue;
            const Value& b = listing.values[accesses[j].value];
            if (!overlap(a, b)) continue;
            const bool same = accesses[j].reach == accesses[i].reach && a.offset == b.offset && a.rows == b.rows &&
                              a.columns == b.columns && (a.stride == b.stride || a.rows <= 1) &&
                              a.integer == b.integer && a.packed == b.packed;
            want(same && !accesses[j].written && in_place(i, j), "operand ", i,
                 " is written and meets the memory of operand ", j);
        }
    }
}

template class Builder<float>;
template class Builder<double>;

}  // namespace lw::program
