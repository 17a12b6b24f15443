// Copies, look-ups and contractions as instructions.
#include "program_build.h"

#include <algorithm>

namespace lw::program {
namespace {

template <class T>
bool run_nothing(const Step<T>&, const Tile&, Share<T>&) {
    return true;
}

// E: the elements, real or integer.
template <class E, class T>
bool run_copy(const Step<T>& s, const Tile& t, Share<T>& share) {
    const auto& copy = *static_cast<const CopyTable*>(s.table);
    CopyDim dims[max_dims];
    std::copy(copy.dims.begin(), copy.dims.end(), dims);
    dims[0].size = t.rows;
    strided_copy(operand<E>(s, 0, t, share) + copy.out, operand<const E>(s, 1, t, share) + copy.x, dims,
                 static_cast<int>(copy.dims.size()));
    return true;
}

template <class T>
bool run_integers(const Step<T>& s, const Tile& t, Share<T>& share) {
    const auto& copy = *static_cast<const CopyTable*>(s.table);
    CopyDim dims[max_dims];
    std::copy(copy.dims.begin(), copy.dims.end(), dims);
    dims[0].size = t.rows;
    strided_integers(operand<std::int64_t>(s, 0, t, share) + copy.out, operand<const T>(s, 1, t, share) + copy.x, dims,
                     static_cast<int>(copy.dims.size()));
    return true;
}

template <class T>
bool run_fill(const Step<T>& s, const Tile& t, Share<T>& share) {
    T* const out = operand<T>(s, 0, t, share);
    const std::size_t columns = columns_of(s, t);
    for (std::size_t r = 0; r < t.rows; ++r) std::fill_n(out + r * s.operands[0].stride, columns, s.value);
    return true;
}

template <class E, class T>
bool run_take(const Step<T>& s, const Tile& t, Share<T>& share) {
    BadIndex bad;
    return take(operand<E>(s, 0, t, share), s.operands[0].stride, operand<const E>(s, 1, t, share),
                s.operands[1].stride, s.n[0], s.columns, operand<const std::int64_t>(s, 2, t, share),
                s.operands[2].stride, t.rows, &bad) ||
           bad_index(s, share, bad, t.row);
}

template <class T>
bool run_one_hot(const Step<T>& s, const Tile& t, Share<T>& share) {
    BadIndex bad;
    return one_hot(operand<T>(s, 0, t, share), s.operands[0].stride, operand<const std::int64_t>(s, 1, t, share),
                   s.operands[1].stride, t.rows, s.n[0], s.n[1], &bad) ||
           bad_index(s, share, bad, t.row * s.n[0]);
}

template <class T>
bool run_scatter(const Step<T>& s, const Tile& t, Share<T>& share) {
    BadIndex bad;
    return scatter(operand<T>(s, 0, t, share), s.operands[0].stride, t.rows, operand<const T>(s, 1, t, share),
                   s.operands[1].stride, columns_of(s, t), operand<const std::int64_t>(s, 2, t, share),
                   s.operands[2].stride, s.n[0], &bad) ||
           bad_index(s, share, bad, 0);
}

template <class T>
bool run_contract(const Step<T>& s, const Tile& t, Share<T>& share) {
    const auto& table = *static_cast<const ContractTable*>(s.table);
    T* const out = operand<T>(s, 0, t, share);
    const T* const a = operand<const T>(s, 1, t, share);
    const T* const b = operand<const T>(s, 2, t, share);
    const std::size_t a_row = s.n[0] == 0 ? 0 : s.operands[1].stride, b_row = s.n[1] == 0 ? 0 : s.operands[2].stride;
    for (std::size_t r = 0; r < t.rows; ++r) {
        contract(out + r * s.operands[0].stride, a + r * a_row, b + r * b_row, table.dims.data(),
                 static_cast<int>(table.dims.size()));
    }
    return true;
}

// From the least to the greatest of the offsets that a walk over dims meets.
class Span {
public:
    explicit Span(std::int64_t offset) : low_(offset), high_(offset) {}

    void add(std::size_t size, std::int64_t stride) {
        if (size == 0) empty_ = true;
        if (size <= 1) return;
        // Saturated like all sizes; what is too large lies in no row.
        const std::size_t reach = times(size - 1, static_cast<std::size_t>(stride < 0 ? -stride : stride));
        std::int64_t& end = stride < 0 ? low_ : high_;
        end += stride < 0 ? -static_cast<std::int64_t>(reach) : static_cast<std::int64_t>(reach);
    }
    bool inside(std::size_t columns) const {
        return empty_ || (low_ >= 0 && high_ < static_cast<std::int64_t>(columns));
    }

private:
    std::int64_t low_, high_;
    bool empty_ = false;
};

// A stride or offset, which may be negative.
template <class T>
std::int64_t signed_number(const Builder<T>& b, std::size_t i) {
    const std::int64_t n = b.instruction.ints[i];
    b.want(n >= -static_cast<std::int64_t>(most) && n <= static_cast<std::int64_t>(most), "the stride or offset ", n,
           " is too large");
    return n;
}

template <class T>
std::size_t dim_count(const Builder<T>& b, std::size_t before, std::size_t words, std::size_t limit) {
    const std::size_t n = b.instruction.ints.size();
    b.want(n >= before, "at least ", before, " ints expected; got ", n);
    const std::size_t dims = b.number(before - 1, "the number of dims", 0, limit);
    b.want(n == before + words * dims, before + words * dims, " ints expected; got ", n);
    return dims;
}

}  // namespace

template <class T>
void build_copy(Builder<T>& b) {
    const std::size_t dims = dim_count(b, 3, 3, max_dims - 1);
    const Value &out = b.value(0), &x = b.value(1);
    const bool same_row = x.rows == 1 && b.job.rows != 1;
    b.want(out.integer || !x.integer, "x is integer, so out must be too");
    b.tables.copies.push_back(std::make_unique<CopyTable>());
    CopyTable& table = *b.tables.copies.back();
    table.out = signed_number(b, 0);
    table.x = signed_number(b, 1);
    table.dims.push_back({0, static_cast<std::ptrdiff_t>(out.stride),
                          same_row ? 0 : static_cast<std::ptrdiff_t>(x.stride)});
    Span out_span(table.out), x_span(table.x);
    std::size_t entries = 1;
    for (std::size_t d = 0; d < dims; ++d) {
        const std::size_t size = b.number(3 + 3 * d, "the size of a dim", 0);
        const std::int64_t out_stride = signed_number(b, 4 + 3 * d), x_stride = signed_number(b, 5 + 3 * d);
        b.want(size <= 1 || out_stride != 0, "a dim writes one entry ", size, " times");
        out_span.add(size, out_stride);
        x_span.add(size, x_stride);
        entries = times(entries, size);
        table.dims.push_back({size, out_stride, x_stride});
    }
    b.want(entries <= out.columns, entries, " entries to copy into ", out.columns, " columns");
    b.want(entries == 0 || out_span.inside(out.columns), "the copy leaves the ", out.columns, " columns of out");
    b.want(entries == 0 || x_span.inside(x.columns), "the copy leaves the ", x.columns, " columns of x");
    b.add(0, true, Reach::row);
    b.add(1, false, same_row ? Reach::whole : Reach::row);
    if (entries == 0) {
        b.step.run = run_nothing<T>;
    } else if (out.integer) {
        b.step.run = x.integer ? run_copy<std::int64_t, T> : run_integers<T>;
    } else {
        b.step.run = run_copy<T, T>;
    }
    b.step.table = &table;
    b.cost(static_cast<double>(entries) * static_cast<double>(b.job.rows) * sizeof(T) / 8);
}

template <class T>
void build_fill(Builder<T>& b) {
    b.add(0, true, Reach::tile);
    b.step.run = run_fill<T>;
    b.step.columns = b.value(0).columns;
    b.step.value = b.tables.options[b.instruction.first_option];
    b.cost(b.elements(0) * sizeof(T) / 20);
}

template <class T>
void build_take(Builder<T>& b) {
    const std::size_t columns = b.value(0).columns;
    b.want_shape(0, b.job.rows, columns);
    b.want_shape(1, b.value(1).rows, columns);
    b.want_shape(2, b.job.rows, 1);
    b.want(b.value(0).integer == b.value(1).integer, "out and table must both be real or both integer");
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::whole);
    b.add(2, false, Reach::row);
    b.step.run = b.value(0).integer ? run_take<std::int64_t, T> : run_take<T, T>;
    b.step.columns = columns;
    b.step.n[0] = b.value(1).rows;
    b.cost(b.elements(0) * sizeof(T) / 5);
}

template <class T>
void build_one_hot(Builder<T>& b) {
    const std::size_t classes = b.number(0, "the number of classes", 0), groups = b.value(1).columns;
    b.want_shape(0, b.job.rows, times(groups, classes));
    b.want_shape(1, b.job.rows, groups);
    b.add(0, true, Reach::row);
    b.add(1, false, Reach::row);
    b.step.run = run_one_hot<T>;
    b.step.n[0] = groups;
    b.step.n[1] = classes;
    b.cost(b.elements(0) * sizeof(T) / 20);
}

template <class T>
void build_scatter(Builder<T>& b) {
    const std::size_t K = b.number(0, "K", 0), columns = b.value(0).columns;
    b.want(!b.job.split_rows, "its rows cannot be cut, but those of the job may be");
    b.want_shape(0, b.job.rows, columns);
    b.want_shape(1, K, columns);
    b.want_shape(2, K, 1);
    b.add(0, true, Reach::tile);
    b.add(1, false, Reach::column);
    b.add(2, false, Reach::whole);
    b.step.run = run_scatter<T>;
    b.step.columns = columns;
    b.step.n[0] = K;
    b.cost((b.elements(0) + 2 * b.elements(1)) * sizeof(T) / 10);
}

template <class T>
void build_contract(Builder<T>& b) {
    const std::size_t dims = dim_count(b, 3, 4, max_dims);
    const bool by_rows[] = {true, b.number(0, "a_is_row", 0, 1) == 1, b.number(1, "b_is_row", 0, 1) == 1};
    b.tables.contracts.push_back(std::make_unique<ContractTable>());
    ContractTable& table = *b.tables.contracts.back();
    Span spans[] = {Span(0), Span(0), Span(0)};
    std::size_t entries = 1, work = 1;
    for (std::size_t d = 0; d < dims; ++d) {
        const std::size_t at = 3 + 4 * d, size = b.number(at, "the size of a dim", 0);
        std::int64_t strides[3];
        for (std::size_t k = 0; k < 3; ++k) {
            strides[k] = signed_number(b, at + 1 + k);
            if (k > 0 || strides[0] != 0) spans[k].add(size, strides[k]);
        }
        if (strides[0] != 0) entries = times(entries, size);
        work = times(work, size);
        table.dims.push_back({size, strides[0], strides[1], strides[2]});
    }
    b.want(entries == b.value(0).columns, "the dims are those of ", entries, " entries; out has ", b.value(0).columns,
           " columns");
    for (int k = 0; k < 3; ++k) {
        const Value& v = b.value(k);
        const bool row = by_rows[k];
        b.want(row || v.rows == 1, b.name(k), " is the same for all rows and must be one row; got ", v.rows);
        const bool met = k == 0 ? entries > 0 : work > 0;  // an empty sum is 0, and is written
        b.want(!met || spans[k].inside(v.columns), "the dims leave the ", v.columns, " columns of ", b.name(k));
        b.add(k, k == 0, row ? Reach::row : Reach::whole);
    }
    if (work == 0) {
        for (ContractDim& d : table.dims) d.a = d.b = 0;  // were not compared with anything
    }
    b.step.run = entries == 0 ? run_nothing<T> : run_contract<T>;
    b.step.table = &table;
    b.step.n[0] = by_rows[1];
    b.step.n[1] = by_rows[2];
    b.cost(static_cast<double>(work) * static_cast<double>(b.job.rows) * sizeof(T) / 8);
}

LW_INSTANTIATE_BUILD(copy)
LW_INSTANTIATE_BUILD(fill)
LW_INSTANTIATE_BUILD(take)
LW_INSTANTIATE_BUILD(one_hot)
LW_INSTANTIATE_BUILD(scatter)
LW_INSTANTIATE_BUILD(contract)

}  // namespace lw::program
