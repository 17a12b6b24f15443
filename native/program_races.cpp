// Whether the tiles of a stage may run in any order.
#include <algorithm>

#include "program_build.h"

namespace lw::program {
namespace {

std::size_t begin_of(const Value& v) { return v.space == Space::bound ? 0 : v.offset; }

// Offset between columns of two matrices with rows `stride` bytes apart: both are seen as parts of rows.
bool side_by_side(const Value& a, const Value& b) {
    if (a.packed || b.packed) return false;
    const Value& longer = a.rows > 1 ? a : b;
    const Value& other = a.rows > 1 ? b : a;
    if (a.element != b.element || (other.rows > 1 && other.stride != longer.stride)) return false;
    const std::size_t row = longer.stride * longer.element, x = begin_of(longer) % row, y = begin_of(other) % row;
    const std::size_t shift = y >= x ? y - x : y + row - x;
    return longer.columns * longer.element <= shift && shift + other.columns * other.element <= row;
}

// One operand of one instruction of the stage.
struct Use {
    const Value* value;
    std::size_t begin, end;
    std::size_t job, instruction;
    Access access;

    std::size_t memory() const {
        return value->space == Space::bound ? value->offset + 2 : value->space == Space::arena ? 1 : 0;
    }
};

// Whether each tile meets the same part of both, and no other tile meets it.
bool same_tiles(const Job& job, const Use& a, const Use& b) {
    const Value &v = *a.value, &w = *b.value;
    if (begin_of(v) != begin_of(w) || v.element != w.element || v.rows != w.rows || v.packed != w.packed) return false;
    if (v.packed && v.columns != w.columns) return false;
    if (v.rows > 1 && v.stride != w.stride) return false;
    const auto by_tile = [&job](const Use& use) {
        const Reach reach = use.access.reach;
        if (job.split_columns) return reach == Reach::tile || (reach == Reach::column && job.rows <= 1);
        return reach == Reach::tile || reach == Reach::row;
    };
    return by_tile(a) && by_tile(b);
}

class Locals {
public:
    Locals(const Listing& listing, const Place& place) : listing_(listing), place_(place) {}

    void read(std::size_t value) const {
        const Value& v = listing_.values[value];
        const bool known = std::any_of(live_.begin(), live_.end(), [&](const Value* l) {
            // Fewer columns in blocks would meet lanes that nothing was written to.
            const bool columns = v.packed ? l->columns == v.columns : l->columns >= v.columns;
            return columns && l->offset == v.offset && l->stride == v.stride && l->element == v.element &&
                   l->packed == v.packed;
        });
        want(known || v.empty(), place_, "local value ", value, " is read before it is written");
    }
    void write(std::size_t value) {
        const Value& v = listing_.values[value];
        std::erase_if(live_, [&](const Value* l) {
            const bool same = l->offset == v.offset && l->stride == v.stride && l->element == v.element;
            return overlap(*l, v) && !(same && l->columns > v.columns);
        });
        live_.push_back(&v);
    }

    Place& place() { return place_; }

private:
    const Listing& listing_;
    Place place_;
    std::vector<const Value*> live_;
};

void check_locals(const Listing& listing, const Place& place, const Job& job, const std::vector<Access>& accesses,
                  const std::vector<std::size_t>& first) {
    Locals locals(listing, place);
    for (std::size_t i = job.first; i < job.last; ++i) {
        locals.place().instruction = static_cast<std::ptrdiff_t>(i - job.first);
        for (const bool written : {false, true}) {
            for (std::size_t k = first[i]; k < first[i + 1]; ++k) {
                const Access& access = accesses[k];
                if (access.written != written || listing.values[access.value].space != Space::local) continue;
                if (written) {
                    locals.write(access.value);
                } else {
                    locals.read(access.value);
                }
            }
        }
    }
}

void check_pair(const Listing& listing, std::size_t stage, const Use& a, const Use& b) {
    if (!a.access.written && !b.access.written) return;
    const Stage& s = listing.stages[stage];
    const Job& job = listing.jobs[a.job];
    if (a.job == b.job && (!job.split() || same_tiles(job, a, b))) return;
    if (!overlap(*a.value, *b.value)) return;
    const Place place{.stage = static_cast<std::ptrdiff_t>(stage)};
    if (a.job != b.job) {
        refuse(place, "jobs " + std::to_string(a.job - s.first) + " and " + std::to_string(b.job - s.first) +
                          " meet in memory that one of them writes (values " + std::to_string(a.access.value) +
                          " and " + std::to_string(b.access.value) + ")");
    }
    refuse(place, "tiles of job " + std::to_string(a.job - s.first) + " meet in memory that one of them writes (values " +
                      std::to_string(a.access.value) + " and " + std::to_string(b.access.value) + ")");
}

}  // namespace

bool overlap(const Value& a, const Value& b) {
    if (a.space != b.space || a.empty() || b.empty()) return false;
    if (a.space == Space::bound && a.offset != b.offset) return false;
    if (a.space == Space::local) {
        return a.offset < b.offset + b.stride * b.element && b.offset < a.offset + a.stride * a.element;
    }
    const std::size_t x = begin_of(a), y = begin_of(b);
    if (x + a.extent() * a.element <= y || y + b.extent() * b.element <= x) return false;
    return (a.rows <= 1 && b.rows <= 1) || !side_by_side(a, b);
}

void check_races(const Listing& listing, std::size_t stage, const std::vector<Access>& accesses,
                 const std::vector<std::size_t>& first) {
    const Stage& s = listing.stages[stage];
    std::vector<Use> uses;
    for (std::size_t j = s.first; j < s.last; ++j) {
        const Job& job = listing.jobs[j];
        const Place place{.stage = static_cast<std::ptrdiff_t>(stage), .job = static_cast<std::ptrdiff_t>(j - s.first)};
        check_locals(listing, place, job, accesses, first);
        for (std::size_t i = job.first; i < job.last; ++i) {
            for (std::size_t k = first[i]; k < first[i + 1]; ++k) {
                const Value& v = listing.values[accesses[k].value];
                if (v.space == Space::local || v.space == Space::scalar || v.empty()) continue;
                uses.push_back({&v, begin_of(v), begin_of(v) + v.extent() * v.element, j, i, accesses[k]});
            }
        }
    }
    std::sort(uses.begin(), uses.end(), [](const Use& a, const Use& b) {
        return a.memory() != b.memory() ? a.memory() < b.memory() : a.begin < b.begin;
    });
    for (std::size_t a = 0; a < uses.size(); ++a) {
        for (std::size_t b = a + 1; b < uses.size(); ++b) {
            if (uses[b].memory() != uses[a].memory() || uses[b].begin >= uses[a].end) break;
            // One instruction's own operands have been compared.
            if (uses[a].instruction != uses[b].instruction) check_pair(listing, stage, uses[a], uses[b]);
        }
    }
}

}  // namespace lw::program
