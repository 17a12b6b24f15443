// How jobs are cut into tiles. Nothing here changes a result.
#include <algorithm>
#include <cmath>

#include "program_loaded.h"
#include "threads.h"

namespace lw::program {
namespace {

constexpr std::size_t cache_bytes = 512 << 10;  // half of a second-level cache of 1 MiB
constexpr std::size_t product_rows = 132;       // more rows do not make a product faster
constexpr std::size_t least_rows = 72;          // of products: fewer, and its packed operand comes too often from afar
constexpr std::size_t turned_columns = 1024;    // what AᵀD takes at a time
constexpr double worth_a_tile = 5000;           // ns
constexpr double tile_time = 150;               // ns: taking one from the counter, and its first instructions
constexpr std::size_t most_pieces = 1 << 15;

std::size_t divided(std::size_t n, std::size_t by) { return (n + by - 1) / by; }
std::size_t rounded(std::size_t n, std::size_t unit) { return divided(n, unit) * unit; }

// All that the choice depends on.
struct Cutter {
    const Job& job;
    const JobFacts& facts;
    std::size_t block;
    int threads;

    // The largest tile that stays in cache.
    Cut largest() const {
        const std::size_t bytes = std::max<std::size_t>(facts.row_bytes, 1);
        const std::size_t fitting = std::max<std::size_t>(cache_bytes / bytes, 1);
        Cut cut{job.rows, job.columns};
        if (facts.turned) {
            cut.rows = std::max(product_rows, fitting / 4);
            cut.columns = turned_columns;
        } else if (facts.products) {
            const double row_time = facts.nanoseconds / static_cast<double>(job.rows);
            const auto worth = static_cast<std::size_t>(std::min(worth_a_tile / std::max(row_time, 1e-3), 1e4));
            cut.rows = std::clamp(fitting, least_rows, std::max(product_rows, std::min(worth, fitting / 2)));
        } else if (fitting < 8 && job.split_columns) {
            cut.rows = 8;
            cut.columns = std::max(block, static_cast<std::size_t>(static_cast<double>(cache_bytes) / 8 /
                                                                   static_cast<double>(bytes) *
                                                                   static_cast<double>(job.columns)));
        } else {
            cut.rows = fitting;
        }
        cut.rows = std::max(cut.rows, divided(job.rows, most_pieces / (job.split_columns ? 32 : 1)));
        cut.columns = std::max(cut.columns, divided(job.columns, most_pieces / (job.split_rows ? 1024 : 1)));
        return {job.split_rows ? std::min(cut.rows, job.rows) : job.rows,
                job.split_columns ? std::min(cut.columns, job.columns) : job.columns};
    }

    // Nanoseconds until the last thread is done.
    double time(const Cut& cut) const {
        const std::size_t down = divided(job.rows, cut.rows), across = divided(std::max<std::size_t>(job.columns, 1),
                                                                              std::max<std::size_t>(cut.columns, 1));
        const double pieces = static_cast<double>(down) * static_cast<double>(across);
        // Thin tiles of products do less with each element that they load.
        const double extra_rows = facts.products ? 2 : 0, extra_columns = facts.products ? block / 8.0 : 0;
        const double each = facts.nanoseconds / static_cast<double>(job.rows) /
                            static_cast<double>(std::max<std::size_t>(job.columns, 1));
        const auto piece = [&](std::size_t rows) {
            return tile_time + each * (static_cast<double>(rows) + extra_rows) *
                                   (static_cast<double>(cut.columns) + (job.split_columns ? extra_columns : 0));
        };
        const double rounds = std::ceil(pieces / threads);
        // The last row of pieces is shorter, which helps where it makes up the last round.
        const std::size_t last = job.rows - (down - 1) * cut.rows;
        const bool alone = std::fmod(pieces - static_cast<double>(across), threads) == 0 &&
                           static_cast<double>(across) <= threads;
        return alone ? (rounds - 1) * piece(cut.rows) + piece(last) : rounds * piece(cut.rows);
    }

    Cut choose(const Cut& forced) const {
        const Cut whole{job.rows, job.columns}, most = largest();
        if (forced.rows > 0) {
            const std::size_t rows = job.row_blocks ? rounded(forced.rows, block) : forced.rows;
            const std::size_t columns = forced.columns == 0 ? job.columns : rounded(forced.columns, block);
            return {job.split_rows ? std::min(rows, job.rows) : job.rows,
                    job.split_columns ? std::min(columns, job.columns) : job.columns};
        }
        if (threads == 1 && most.rows == whole.rows && most.columns == whole.columns) return whole;
        const auto n = static_cast<std::size_t>(threads);
        Cut best = most;
        double best_time = INFINITY;
        for (std::size_t i = 0; i < (job.split_rows ? 8 : 1); ++i) {
            const std::size_t down = job.split_rows ? pieces(job.rows, most.rows, i, n) : 1;
            for (std::size_t k = 0; k < (job.split_columns ? 4 : 1); ++k) {
                // Along columns also fewer pieces than threads: rows are cut as well.
                const std::size_t across = job.split_columns ? pieces(job.columns, most.columns, k, k % 2 ? n : 1) : 1;
                Cut cut{std::max<std::size_t>(divided(job.rows, down), 1), job.columns};
                if (job.row_blocks) cut.rows = std::min(rounded(cut.rows, block), job.rows);
                if (across > 1) cut.columns = std::min(rounded(divided(job.columns, across), block), job.columns);
                const double needed = time(cut);
                if (needed < best_time) {
                    best = cut;
                    best_time = needed;
                }
            }
        }
        return best;
    }

    // Numbers of pieces to try: 1 where one will do, then multiples of n from where a piece is small enough.
    static std::size_t pieces(std::size_t size, std::size_t most, std::size_t i, std::size_t n) {
        const std::size_t least = divided(size, std::max<std::size_t>(most, 1));
        const std::size_t count = least <= 1 ? std::max<std::size_t>(i * n, 1) : rounded(least, n) + i * n;
        return std::min(count, std::max<std::size_t>(size, 1));
    }
};

template <class T>
void add_tiles(Loaded<T>& program, std::size_t j, const Cut& cut) {
    const Job& job = program.listing.jobs[j];
    for (std::size_t r = 0; r < job.rows; r += cut.rows) {
        const std::size_t rows = std::min(cut.rows, job.rows - r);
        if (!job.split_columns) {
            program.tiles.push_back({static_cast<std::uint32_t>(j), r, rows, 0, 0});
            continue;
        }
        for (std::size_t c = 0; c < job.columns; c += cut.columns) {
            const std::size_t columns = std::min(cut.columns, job.columns - c);
            program.tiles.push_back({static_cast<std::uint32_t>(j), r, rows, c, columns});
        }
    }
}

// Local values stand one after another, each for all rows of the largest tile.
template <class T>
std::size_t place_locals(Loaded<T>& program, const Job& job, const Cut& cut) {
    for (std::size_t i = job.first; i < job.last; ++i) {
        for (std::size_t k = program.first_operand[i]; k < program.first_operand[i + 1]; ++k) {
            Operand& o = program.operands[k];
            if (o.base != local_base) continue;
            const Value& v = program.listing.values[o.value];
            o.offset = times(v.offset, cut.rows);
            o.stride = v.stride;
            o.block_rows = cut.rows;
            if (v.packed || !job.split_columns || cut.columns >= job.columns) continue;
            // As long as the tile; not a multiple of a page, which would put all rows in the same sets of the cache.
            std::size_t stride = cut.columns;
            if (stride * v.element % 4096 == 0) stride += 64 / v.element;
            o.stride = std::min(stride, v.stride);
        }
    }
    return times(job.local_bytes, cut.rows);
}

// Tiles that follow one another for each share, of about the same time.
template <class T>
void add_ranges(Loaded<T>& program, std::size_t first, std::size_t shares) {
    const auto time = [&](const Tile& tile) {
        const Job& job = program.listing.jobs[tile.job];
        const double rows = static_cast<double>(tile.rows) / static_cast<double>(job.rows);
        const double columns = static_cast<double>(tile.columns) / static_cast<double>(job.columns);
        const double part = tile.columns == 0 ? rows : rows * columns;
        return tile_time + program.job_facts[tile.job].nanoseconds * part;
    };
    double all = 0, done = 0;
    for (std::size_t i = first; i < program.tiles.size(); ++i) all += time(program.tiles[i]);
    std::size_t share = 0;
    for (std::size_t i = first; i < program.tiles.size(); ++i) {
        const double next = done + time(program.tiles[i]);
        // Where the middle of the tile falls.
        const double middle = (done + next) / 2 * static_cast<double>(shares);
        for (; share < shares && middle >= all * static_cast<double>(share); ++share) program.ranges.push_back(i);
        done = next;
    }
    for (; share <= shares; ++share) program.ranges.push_back(program.tiles.size());
}

// The rows in which a share begins to gather.
template <class T>
void find_gathered(Loaded<T>& program) {
    for (const StageTiles& stage : program.stages) {
        for (int s = 0; s < stage.threads; ++s) {
            const std::size_t* const range = program.ranges.data() + stage.first_range + s;
            const std::size_t first = stage.threads > 1 ? range[0] : stage.first;
            const std::size_t last = stage.threads > 1 ? range[1] : stage.last;
            Share<T>& share = program.shares[static_cast<std::size_t>(s)];
            for (std::size_t i = first; i < last; ++i) {
                const Tile& tile = program.tiles[i];
                if (!program.job_facts[tile.job].gathers) continue;
                const bool none = share.first_gathered == share.last_gathered;
                share.first_gathered = none ? tile.row : std::min(share.first_gathered, tile.row);
                share.last_gathered = std::max(share.last_gathered, tile.row + tile.rows);
            }
        }
    }
}

}  // namespace

template <class T>
void plan_tiles(Loaded<T>& program, int threads) {
    program.stages.clear();
    program.tiles.clear();
    program.ranges.clear();
    std::size_t local = 0;
    bool turned = false;
    int most_threads = 1;
    const Products<T>& products = program.kernels.products;
    for (const Stage& stage : program.listing.stages) {
        const std::size_t first = program.tiles.size();
        double work = 0;
        for (std::size_t j = stage.first; j < stage.last; ++j) work += program.job_facts[j].nanoseconds;
        // threads_for counts in operations of which a thread does 30 a nanosecond.
        const int useful = program.forced.rows > 0 ? threads : threads_for(30 * work, threads);
        for (std::size_t j = stage.first; j < stage.last; ++j) {
            const Job& job = program.listing.jobs[j];
            if (job.rows == 0) continue;
            const JobFacts& facts = program.job_facts[j];
            const Cut cut = Cutter{job, facts, products.block, useful}.choose(program.forced);
            local = std::max(local, place_locals(program, job, cut));
            turned |= facts.turned;
            add_tiles(program, j, cut);
        }
        const std::size_t tiles = program.tiles.size() - first;
        const int used = static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(useful), tiles));
        program.stages.push_back({used, first, program.tiles.size(), program.ranges.size()});
        if (used > 1) add_ranges(program, first, static_cast<std::size_t>(used));
        most_threads = std::max(most_threads, used);
    }
    program.next = std::vector<Next>(static_cast<std::size_t>(most_threads));
    program.scratch.clear();
    program.shares = std::vector<Share<T>>(static_cast<std::size_t>(most_threads));
    for (Share<T>& share : program.shares) {
        share.bases.assign(first_bound_base + program.listing.bound, nullptr);
        program.scratch.emplace_back(local);
        share.bases[local_base] = program.scratch.back().data();
        program.scratch.emplace_back(turned ? products.t_workspace * sizeof(T) : 0);
        share.workspace = reinterpret_cast<T*>(program.scratch.back().data());
        share.kernels = &program.kernels;
    }
    if (program.gathers.used) find_gathered(program);
    program.threads = threads;
}

template void plan_tiles(Loaded<float>&, int);
template void plan_tiles(Loaded<double>&, int);

}  // namespace lw::program
