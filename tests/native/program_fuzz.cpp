// Looks for words that a Program accepts and should not: programs from program_seeds.py are changed at random, loaded,
// and run where they are accepted, on buffers that end where the program says. To be built with a sanitizer, which then
// sees an access that was not foreseen; with that of threads, tiles that meet. That a run and a training step allocate
// nothing is checked on the way.
//
//   program_fuzz FOLDER MUTATIONS SEED [THREADS]
//
// `make sanitize` does all of it. The exit status is not 0 where something is found.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "gather.h"
#include "pool.h"
#include "program.h"
#include "train.h"

using lw::Program;

// Memory that the system refuses is an exception here, as it is without a sanitizer.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1:quarantine_size_mb=16"; }

namespace {
std::atomic<long> allocations{0};

void* allocate(std::size_t bytes, std::size_t alignment) {
    allocations.fetch_add(1, std::memory_order_relaxed);
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, std::max<std::size_t>(bytes, 1)) != 0) throw std::bad_alloc();
    return memory;
}
}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

using Random = std::mt19937_64;
using Words = std::vector<std::int64_t>;

struct Seed {
    bool layers;  // the program with a cost
    std::size_t item;
    lw::Isa isa;
    Words words;
    std::vector<double> numbers;
};

std::vector<Seed> read_seeds(const char* folder) {
    std::vector<std::filesystem::path> paths;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    std::vector<Seed> seeds;
    for (const auto& path : paths) {
        std::ifstream file(path, std::ios::binary);
        std::int64_t head[4];
        file.read(reinterpret_cast<char*>(head), sizeof head);
        Seed seed{path.filename().string().starts_with("layers"), static_cast<std::size_t>(head[0]), static_cast<lw::Isa>(head[1]),
                  Words(static_cast<std::size_t>(head[2])), std::vector<double>(static_cast<std::size_t>(head[3]))};
        file.read(reinterpret_cast<char*>(seed.words.data()), head[2] * 8);
        file.read(reinterpret_cast<char*>(seed.numbers.data()), head[3] * 8);
        if (!file) throw std::runtime_error("cannot read " + path.string());
        if (lw::isa_available(seed.isa)) seeds.push_back(std::move(seed));
    }
    if (seeds.empty()) throw std::runtime_error(std::string("no programs in ") + folder);
    return seeds;
}

std::size_t below(Random& random, std::size_t n) { return n == 0 ? 0 : random() % n; }

std::int64_t plus(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}

std::int64_t some_number(Random& random) {
    constexpr std::int64_t edges[] = {0,
                                      1,
                                      -1,
                                      2,
                                      3,
                                      7,
                                      64,
                                      128,
                                      255,
                                      1 << 16,
                                      std::int64_t{1} << 31,
                                      std::int64_t{1} << 32,
                                      std::int64_t{1} << 45,
                                      std::int64_t{1} << 46,
                                      (std::int64_t{1} << 46) + 1,
                                      std::int64_t{1} << 62,
                                      std::numeric_limits<std::int64_t>::max(),
                                      std::numeric_limits<std::int64_t>::min()};
    switch (below(random, 4)) {
        case 0:
            return edges[below(random, std::size(edges))];
        case 1:
            return static_cast<std::int64_t>(random());
        default:
            return static_cast<std::int64_t>(below(random, 20)) - 2;
    }
}

void mutate(Words& words, Random& random) {
    const std::size_t i = below(random, words.size()), j = below(random, words.size());
    switch (below(random, 12)) {
        case 0:
            words[i] = some_number(random);
            break;
        case 1:
            std::swap(words[i], words[j]);
            break;
        case 2:
            words[i] = words[j];
            break;
        case 3:
            words.resize(1 + below(random, words.size()));
            break;
        case 4:
            words.insert(words.begin() + static_cast<std::ptrdiff_t>(i), some_number(random));
            break;
        case 5:
            if (words.size() > 1) words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
            break;
        case 6:
            words[i] = plus(words[i], words[i]);
            break;
        case 7: {  // the same number elsewhere too: a size is often said more than once
            const std::int64_t from = words[i], to = plus(from, static_cast<std::int64_t>(below(random, 3)) - 1);
            for (std::int64_t& word : words) {
                if (word == from && below(random, 2) == 0) word = to;
            }
            break;
        }
        default:
            words[i] = plus(words[i], below(random, 2) == 0 ? 1 : -1);
    }
}

// Exactly so many bytes, each time anew.
class Buffer {
public:
    explicit Buffer(std::size_t bytes) : data_(static_cast<char*>(std::malloc(bytes))), bytes_(bytes) {}
    Buffer(Buffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr; }
    Buffer& operator=(Buffer&&) = delete;
    ~Buffer() { std::free(data_); }
    char* data() const { return data_; }

    void fill(bool integer, std::size_t element, Random& random) const {
        for (std::size_t i = 0; i + element <= bytes_; i += element) {
            const double x = static_cast<double>(below(random, 9)) - 2;
            if (integer) {
                const auto n = static_cast<std::int64_t>(below(random, 4));
                std::memcpy(data_ + i, &n, sizeof n);
            } else if (element == 4) {
                const auto f = static_cast<float>(x);
                std::memcpy(data_ + i, &f, sizeof f);
            } else {
                std::memcpy(data_ + i, &x, sizeof x);
            }
        }
    }

private:
    char* data_;
    std::size_t bytes_;
};

void check(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "failed: %s\n", what);
    std::exit(1);
}

struct Counts {
    long accepted = 0, run = 0, bad_indices = 0;
};

constexpr std::size_t most_bytes = 1 << 20;
constexpr std::size_t source_rows = 16;
constexpr std::size_t cost_of_layers = 2;  // its bound array, in program_seeds.py

template <class T>
void run(Program<T>& program, Random& random, int threads, Counts& counts) {
    if (program.nanoseconds() > 1e6 || program.arena_bytes() > most_bytes || program.state_bytes() > most_bytes) return;
    if (program.local_bytes() > most_bytes || program.gathered_rows() > source_rows) return;
    std::vector<Buffer> buffers;
    std::vector<void*> bound;
    for (const lw::BoundArray& array : program.bound()) {
        const std::size_t element = array.integer ? sizeof(std::int64_t) : sizeof(T);
        if (array.elements > most_bytes) return;
        buffers.emplace_back(array.elements * element);
        buffers.back().fill(array.integer, element, random);
        bound.push_back(buffers.back().data());
    }
    const Buffer state(program.state_bytes());
    state.fill(false, sizeof(T), random);
    std::vector<lw::Source> sources;
    for (const lw::SourceUse& use : program.sources()) {
        if (use.columns > most_bytes / source_rows / 8) return;
        buffers.emplace_back(source_rows * use.columns * 8);
        buffers.back().fill(true, 8, random);
        const auto row = static_cast<std::ptrdiff_t>(use.columns * 8);
        sources.push_back({buffers.back().data(), lw::Element::int64, row, 8, use.columns});
    }
    std::vector<std::int64_t> rows(program.gathered_rows());
    for (std::int64_t& r : rows) r = static_cast<std::int64_t>(below(random, source_rows));
    const std::vector<double> scalars(program.scalars(), 0.5);
    const lw::GatherContext context{sources.data(), below(random, 2) == 0 ? nullptr : rows.data(), 0};
    ++counts.run;
    program.cut(below(random, 6), below(random, 3) * 64);
    try {
        program.bind(bound.data(), state.data(), threads);
        const long before = allocations.load();
        program.run(scalars.data(), &context);
        check(allocations.load() == before, "a run allocates nothing");
    } catch (const lw::BadIndexError&) {
        ++counts.bad_indices;
    }
}

// However many steps an epoch has, and epochs a run.
void check_trainer(const Seed& seed) {
    Program<float> program(seed.words, seed.numbers, seed.isa);
    std::vector<Buffer> buffers;
    std::vector<void*> bound;
    Random random(1);
    for (const lw::BoundArray& array : program.bound()) {
        buffers.emplace_back(array.elements * sizeof(float));
        buffers.back().fill(false, sizeof(float), random);
        bound.push_back(buffers.back().data());
    }
    const Buffer state(program.state_bytes());
    std::memset(state.data(), 0, program.state_bytes());
    constexpr std::size_t rows = 60, batch = 5, epochs = 20;
    lw::TrainSettings<float> settings{};
    settings.full = {&program, bound, static_cast<const float*>(bound[cost_of_layers])};
    settings.state = state.data();
    settings.parameters = {{0, 12}};
    settings.rows = rows;
    settings.batch = batch;
    settings.shuffled = true;
    lw::Trainer<float> trainer(settings);
    const double rate = 1e-3;
    double costs[epochs], seconds[epochs];
    long counted[2];
    for (int threads : {1, 3}) {
        constexpr double none = std::numeric_limits<double>::infinity();
        constexpr std::uint64_t no_limit = std::numeric_limits<std::uint64_t>::max();
        lw::TrainRun run{1,    epochs,   0,    0.0,  &rate, 0,       threads, none,
                         no_limit, none, true, true, costs, seconds, nullptr};
        trainer.run(run);
        for (int i = 0; i < 2; ++i) {
            run.epochs = i == 0 ? 1 : epochs;
            const long before = allocations.load();
            check(trainer.run(run) == lw::TrainStatus::done, "the fit is done");
            counted[i] = allocations.load() - before;
        }
        check(counted[0] == counted[1], "a training step allocates nothing");
    }
}

template <class T>
void attempt(const Words& words, const std::vector<double>& numbers, lw::Isa isa, Random& random, int threads,
             Counts& counts) {
    // Vectors that end where their numbers end.
    const std::unique_ptr<std::int64_t[]> exact(new std::int64_t[words.size()]);
    std::copy(words.begin(), words.end(), exact.get());
    std::unique_ptr<Program<T>> program;
    try {
        program = std::make_unique<Program<T>>(std::span(exact.get(), words.size()), numbers, isa);
    } catch (const std::invalid_argument&) {
        return;
    }
    ++counts.accepted;
    run(*program, random, threads, counts);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: program_fuzz FOLDER MUTATIONS SEED [THREADS]\n");
        return 2;
    }
    const std::vector<Seed> seeds = read_seeds(argv[1]);
    const long mutations = std::atol(argv[2]);
    Random random(std::strtoull(argv[3], nullptr, 10));
    const int threads = argc > 4 ? std::atoi(argv[4]) : 0;
    lw::Pool::run(8, [](int, int) {});  // makes its threads
    for (const Seed& seed : seeds) {
        if (seed.layers && seed.item == 4) check_trainer(seed);
    }
    Counts counts;
    const auto started = std::chrono::steady_clock::now();
    for (long i = 0; i < mutations; ++i) {
        const Seed& seed = seeds[below(random, seeds.size())];
        Words words = seed.words;
        std::vector<double> numbers = seed.numbers;
        // The seeds as they are come first.
        const std::size_t changes = i < static_cast<long>(seeds.size()) ? 0 : 1 + below(random, 3);
        for (std::size_t k = 0; k < changes; ++k) mutate(words, random);
        if (changes > 0 && below(random, 50) == 0) numbers.resize(below(random, numbers.size() + 1));
        // Now and then several threads: the pool costs more than all the rest.
        const int team = threads > 0 ? threads : below(random, 100) == 0 ? 3 : 1;
        if (seed.item == 4) {
            attempt<float>(words, numbers, seed.isa, random, team, counts);
        } else {
            attempt<double>(words, numbers, seed.isa, random, team, counts);
        }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    std::printf("%ld programs, %ld accepted, %ld run, %ld with bad indices; %.0f a second\n", mutations,
                counts.accepted, counts.run, counts.bad_indices, static_cast<double>(mutations) / seconds);
    return counts.run > 0 ? 0 : 1;
}
