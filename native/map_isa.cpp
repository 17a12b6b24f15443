// Runs elementwise programs (see map.h). Compiled once for each instruction set (see simd.h).
#include <new>

#include "map_plan.h"

namespace lw::LW_NAMESPACE {
namespace {

template <class T>
LW_INLINE void copy(T* out, const T* from, std::size_t n) {
    std::size_t i = 0;
    for (; i + width<T> <= n; i += width<T>) store<T>(out + i, load<T>(from + i));
    if (i < n) store_part<T>(out + i, load_part<T>(from + i, static_cast<int>(n - i)), static_cast<int>(n - i));
}

// In whole vectors: up to width - 1 numbers more than n.
template <class T>
LW_INLINE void fill(T* out, T number, std::size_t n) {
    for (std::size_t i = 0; i < n; i += width<T>) store<T>(out + i, all<T>(number));
}

// The first n numbers, then zeros to the end of a narrow tile.
template <class T>
LW_INLINE void copy_to_tile(T* out, const T* from, std::size_t n) {
    std::size_t i = 0;
    for (; i + width<T> <= n; i += width<T>) store<T>(out + i, load<T>(from + i));
    if (i < n) {
        store<T>(out + i, load_part<T>(from + i, static_cast<int>(n - i)));
        i += width<T>;
    }
    for (; i < Narrow<T>::size; i += width<T>) store<T>(out + i, Vector<T>{});
}

// One run: row by row, or flat, which is all elements as one row. Flat, a row vector is read from a copy that repeats it,
// and a column vector, or rows that are apart in memory, are collected tile by tile.
template <class T>
class Run {
public:
    Run(const Plan<T>& plan, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
        std::size_t columns)
        : plan_(plan), inputs_(inputs), outputs_(outputs), rows_(rows), columns_(columns) {}

    LW_INLINE void run() {
        arrange();
        place_outputs();
        if (plan_.constants != nullptr) {
            state_.count = width<T>;
            Narrow<T>::start(plan_.constants, &state_);
        }
        if (flat_) {
            begin_flat();
            row(rows_ * columns_);
            return;
        }
        for (std::size_t r = 0; r < rows_; ++r) {
            begin_row(r);
            row(columns_);
        }
    }

private:
    static constexpr std::size_t tile = Wide<T>::size;
    static constexpr std::size_t slot = tile + width<T>;
    static constexpr std::size_t expanded_size = 16384 / sizeof(T);
    static constexpr std::size_t short_row = 64, long_row = 4 * tile;

    T* slot_of(int r) { return slots_ + static_cast<std::size_t>(r) * slot; }

    void arrange() {
        if (rows_ > 1) {
            for (int i : members(plan_.full)) apart_ |= inputs_[i].stride == columns_ ? 0 : bit(i);
            if (columns_ == 1) {
                for (int i : members(plan_.column_vectors)) {
                    (inputs_[i].stride == 1 ? dense_columns_ : apart_) |= bit(i);
                }
            }
            for (int k = 0; k < plan_.outputs; ++k) outputs_apart_ |= outputs_[k].stride == columns_ ? 0 : bit(k);
            if ((apart_ | outputs_apart_) != 0) {
                flat_ = columns_ < short_row;
            } else if ((plan_.row_vectors | plan_.column_vectors) == 0) {
                flat_ = true;
            } else {
                const auto vectors = static_cast<std::size_t>(__builtin_popcountll(plan_.row_vectors));
                const bool whole_tiles = columns_ % tile == 0 && columns_ >= long_row;
                flat_ = !whole_tiles && vectors * (columns_ + tile) <= expanded_size;
            }
        }
        steps_ = flat_ ? plan_.flat : plan_.by_row;
        state_.options = plan_.options;
        for (int i : members(plan_.scalars)) state_.at[i] = const_cast<T*>(inputs_[i].data);
        for (int i : members(plan_.registers)) state_.at[i] = slot_of(i);
    }

    // The register of an output is the output itself, unless an input in the same memory is still to be read then.
    void place_outputs() {
        const Set candidates = plan_.direct & ~(flat_ ? outputs_apart_ : 0);
        Set matrices = plan_.full;
        if (rows_ == 1) matrices |= plan_.row_vectors;
        if (columns_ == 1) matrices |= plan_.column_vectors;
        for (int k : members(candidates)) {
            const T* const begin = outputs_[k].data;
            const T* const end = begin + (rows_ - 1) * outputs_[k].stride + columns_;
            bool read = false;
            for (int i : members(plan_.read_later[k] & matrices)) {
                const T* const first = inputs_[i].data;
                read |= first < end && begin < first + (rows_ - 1) * inputs_[i].stride + columns_;
            }
            if (read) continue;
            direct_ |= bit(k);
            results_ |= bit(plan_.results[k]);
        }
        copied_ = (bit(plan_.outputs) - 1) & ~direct_;
    }

    void begin_flat() {
        moving_ = (plan_.full & ~apart_) | dense_columns_ | results_;
        spread_ = plan_.column_vectors & ~(apart_ | dense_columns_);
        collecting_ = (apart_ | spread_) != 0;
        following_ = rows_ > 1 && (apart_ | spread_ | plan_.row_vectors | (copied_ & outputs_apart_)) != 0;
        T* room = expanded_;
        for (int i : members(plan_.row_vectors)) {
            starts_[i] = state_.at[i] = room;  // the row again and again, so that a tile may begin anywhere in it
            const std::size_t size = columns_ + tile;
            copy<T>(room, inputs_[i].data, columns_);
            for (std::size_t n = columns_; n < size; n *= 2) copy<T>(room + n, room, n < size - n ? n : size - n);
            room += size;
        }
        for (int i : members(moving_ & ~results_)) state_.at[i] = const_cast<T*>(inputs_[i].data);
        for (int i : members(apart_ | spread_)) state_.at[i] = slot_of(i);
        for (int k : members(direct_)) state_.at[plan_.results[k]] = outputs_[k].data;
    }

    void begin_row(std::size_t r) {
        moving_ = plan_.full | plan_.row_vectors | results_;
        at_row_ = r;
        at_column_ = 0;
        for (int i : members(plan_.full | plan_.column_vectors)) {
            state_.at[i] = const_cast<T*>(inputs_[i].data) + r * inputs_[i].stride;
        }
        for (int i : members(plan_.row_vectors)) state_.at[i] = const_cast<T*>(inputs_[i].data);
        for (int k : members(direct_)) state_.at[plan_.results[k]] = outputs_[k].data + r * outputs_[k].stride;
    }

    LW_INLINE void row(std::size_t n) {
        if (plan_.lone != nullptr && has(moving_, plan_.lone_input) && copied_ == 0) {
            plan_.lone(state_.at[plan_.lone_input], state_.at[plan_.results[0]], n, plan_.lone_options);
            return;
        }
        n = tiles<Wide<T>>(steps_.wide, n);
        n = tiles<Narrow<T>>(steps_.narrow, n);
        if (n > 0) rest(n);
    }

    template <class Tile>
    LW_INLINE std::size_t tiles(const typename Tile::Step* steps, std::size_t n) {
        state_.count = Tile::size;
        for (; n >= Tile::size; n -= Tile::size) {
            if (collecting_) collect(Tile::size);
            Tile::start(steps, &state_);
            if (copied_ != 0) copy_outputs(Tile::size);
            for (int i : members(moving_)) state_.at[i] += Tile::size;
            at_column_ += Tile::size;
            if (following_) follow();
        }
        return n;
    }

    void follow() {
        if (at_column_ >= columns_) {
            const std::size_t rows = columns_ >= tile ? 1 : at_column_ / columns_;
            at_row_ += rows;
            at_column_ -= rows * columns_;
        }
        for (int i : members(plan_.row_vectors)) state_.at[i] = starts_[i] + at_column_;
    }

    // Less than a tile: inputs and outputs are copied, so that steps always work on a whole one.
    void rest(std::size_t n) {
        for (int i : members(moving_ & ~results_)) {
            copy_to_tile<T>(slot_of(i), state_.at[i], n);
            state_.at[i] = slot_of(i);
        }
        T* outputs[map_registers];
        for (int r : members(results_)) {
            outputs[r] = state_.at[r];
            state_.at[r] = slot_of(r);
        }
        state_.count = (n + width<T> - 1) / width<T> * width<T>;
        if (collecting_) collect(n);
        Narrow<T>::start(steps_.narrow, &state_);
        if (copied_ != 0) copy_outputs(n);
        for (int r : members(results_)) copy<T>(outputs[r], slot_of(r), n);
    }

    // The next n elements, row by row: f(row, column, place among the n, how many).
    template <class F>
    LW_INLINE void pieces(std::size_t n, F f) const {
        std::size_t r = at_row_, c = at_column_;
        for (std::size_t done = 0; done < n; ++r, c = 0) {
            const std::size_t part = columns_ - c < n - done ? columns_ - c : n - done;
            f(r, c, done, part);
            done += part;
        }
    }

    void collect(std::size_t n) {
        for (int i : members(spread_)) {
            T* const out = slot_of(i);
            const MapInput<T>& in = inputs_[i];
            pieces(n, [&](std::size_t r, std::size_t, std::size_t to, std::size_t part) {
                fill<T>(out + to, in.data[r * in.stride], part);
            });
        }
        for (int i : members(apart_)) {
            T* const out = slot_of(i);
            const MapInput<T>& in = inputs_[i];
            pieces(n, [&](std::size_t r, std::size_t c, std::size_t to, std::size_t part) {
                copy<T>(out + to, in.data + r * in.stride + c, part);
            });
        }
    }

    void copy_outputs(std::size_t n) {
        for (int k : members(copied_)) {
            const T* from = state_.at[plan_.results[k]];
            T number[slot];
            if (has(plan_.computed, plan_.results[k])) {
                fill<T>(number, *from, n);
                from = number;
            }
            const MapOutput<T>& out = outputs_[k];
            if (!flat_ || !has(outputs_apart_, k)) {
                copy<T>(out.data + at_row_ * out.stride + at_column_, from, n);
                continue;
            }
            pieces(n, [&](std::size_t r, std::size_t c, std::size_t start, std::size_t part) {
                copy<T>(out.data + r * out.stride + c, from + start, part);
            });
        }
    }

    const Plan<T>& plan_;
    const MapInput<T>* const inputs_;
    const MapOutput<T>* const outputs_;
    const std::size_t rows_, columns_;
    bool flat_ = false;
    bool collecting_ = false, following_ = false;
    typename Plan<T>::Lists steps_;
    Set apart_ = 0;          // inputs whose rows are not one after the other in memory
    Set dense_columns_ = 0;  // column vectors that are all there is
    Set spread_ = 0;         // column vectors that are expanded to tiles
    Set moving_ = 0;         // registers that are somewhere else in memory for the next tile
    Set outputs_apart_ = 0, direct_ = 0, copied_ = 0;  // outputs, by their own numbers
    Set results_ = 0;                                  // registers of the direct ones
    std::size_t at_row_ = 0, at_column_ = 0;
    State<T> state_;
    T* starts_[map_registers];
    alignas(64) T slots_[map_registers * slot];
    alignas(64) T expanded_[expanded_size + width<T>];
};

template <class T>
void run_prepared(const void* prepared, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
                  std::size_t columns) {
    if (rows == 0 || columns == 0) return;
    Run<T>(*static_cast<const Plan<T>*>(prepared), inputs, outputs, rows, columns).run();
}

template <class T>
void run(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
         std::size_t columns) {
    constexpr std::size_t on_stack = 16384;
    alignas(16) unsigned char near_by[on_stack];
    const std::size_t size = prepared_size(code);
    void* const memory = size <= on_stack ? near_by : ::operator new(size);
    prepare(code, memory);
    run_prepared(memory, inputs, outputs, rows, columns);
    if (memory != near_by) ::operator delete(memory);
}

template <class T>
constexpr Maps<T> table = {run<T>, prepared_size<T>, prepare<T>, run_prepared<T>};

}  // namespace

extern const Maps<float> maps_f32;
extern const Maps<double> maps_f64;
const Maps<float> maps_f32 = table<float>;
const Maps<double> maps_f64 = table<double>;

}  // namespace lw::LW_NAMESPACE
