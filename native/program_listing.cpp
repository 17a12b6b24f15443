#include "program_listing.h"

#include <stdexcept>

namespace lw::program {
namespace {

constexpr std::int64_t magic = 0x4c57504c, version = 1;
constexpr std::size_t value_words = 7;
// Of bound arrays, scalars and sources: what stands in no record cannot be counted against the words.
constexpr std::size_t most_named = 1 << 16;
constexpr std::size_t most_values = std::size_t{1} << 31;

class Reader {
public:
    explicit Reader(std::span<const std::int64_t> words) : words_(words) {}

    std::size_t left() const { return words_.size() - next_; }

    std::int64_t word(const char* what) {
        want(left() > 0, place, "the words end before ", what);
        return words_[next_++];
    }

    std::size_t size(const char* what, std::size_t limit = most) {
        const std::int64_t value = word(what);
        want(value >= 0 && static_cast<std::size_t>(value) <= limit, place, what, " must be from 0 to ", limit,
             "; got ", value);
        return static_cast<std::size_t>(value);
    }

    // Of records that take at least so many words each.
    std::size_t count(const char* what, std::size_t least_words) {
        const std::int64_t value = word(what);
        want(value >= 0 && static_cast<std::size_t>(value) <= left() / least_words, place, what, " is ", value, ", but ",
             left(), " words are left");
        return static_cast<std::size_t>(value);
    }

    std::span<const std::int64_t> list(const char* what) {
        const std::size_t n = count(what, 1);
        next_ += n;
        return words_.subspan(next_ - n, n);
    }

    Place place;

private:
    std::span<const std::int64_t> words_;
    std::size_t next_ = 0;
};

const char* const space_names[] = {"bound arrays", "state", "arena", "local memory", "scalars"};

void check_inside(const Listing& listing, const Value& v, const std::string& name) {
    const Place place;
    want(v.rows <= 1 || v.packed || v.stride >= v.columns, place, name, ": stride ", v.stride, " is less than its ",
         v.columns, " columns");
    // Also where there are no columns: rows are counted one stride after another, unless they lie in blocks.
    const std::size_t strides = v.packed && v.space != Space::local ? 1 : v.rows;
    want(times(times(strides, v.stride), v.element) <= most && times(times(v.rows, v.columns), v.element) <= most, place,
         name, " is too large");
    if (v.space == Space::bound) {
        want(v.offset < listing.bound, place, name, ": bound array ", v.offset, " of ", listing.bound);
        return;
    }
    want(v.offset % v.element == 0, place, name, ": offset ", v.offset, " is no multiple of the element's ", v.element,
         " bytes");
    if (v.space == Space::local) {
        want(v.stride >= v.columns, place, name, ": stride ", v.stride, " is less than its ", v.columns, " columns");
        return;  // how much of it there is, the jobs say
    }
    std::size_t bytes = 0;
    if (v.space == Space::scalar) {
        want(v.rows == 1 && v.columns == 1 && !v.integer, place, name, ": a scalar is one real number");
        bytes = listing.scalars * listing.element;
    } else {
        bytes = v.space == Space::state ? listing.state_bytes : listing.arena_bytes;
    }
    const std::size_t end = v.offset + times(v.extent(), v.element);
    want(end <= bytes, place, name, " ends at byte ", end, " of the ", bytes, " bytes of the ",
         space_names[static_cast<int>(v.space)]);
}

Value read_value(Reader& in, const Listing& listing) {
    Value v{};
    const std::size_t kind = in.size("the kind of a value", 2);
    v.integer = kind == 1;
    v.packed = kind == 2;
    v.space = static_cast<Space>(in.size("the space of a value", 4));
    v.offset = in.size("the offset of a value");
    v.rows = in.size("the rows of a value");
    v.columns = in.size("the columns of a value");
    v.stride = in.size("the stride of a value");
    v.written = in.size("the flags of a value", 1) == 1;
    v.element = v.integer ? sizeof(std::int64_t) : listing.element;
    check_inside(listing, v, "value " + std::to_string(listing.values.size()));
    return v;
}

Instruction read_instruction(Reader& in, const Listing& listing) {
    Instruction i{};
    i.kernel = static_cast<Kernel>(in.size("the kernel", kernel_count - 1));
    const KernelFacts& known = facts(i.kernel);
    in.place.kernel = known.name;
    i.operands = in.list("the number of operands");
    for (const std::int64_t v : i.operands) {
        want(v >= -1 && v < static_cast<std::int64_t>(listing.values.size()), in.place, "operand ", v, " of ",
             listing.values.size(), " values");
    }
    i.ints = in.list("the number of ints");
    want(known.ints == any || i.ints.size() == static_cast<std::size_t>(known.ints), in.place, known.ints,
         " ints expected; got ", i.ints.size());
    i.options = in.size("the number of options");
    i.first_option = in.size("the index of the first option");
    want(known.options == any || i.options == static_cast<std::size_t>(known.options), in.place, known.options,
         " options expected; got ", i.options);
    want(i.first_option + i.options <= listing.numbers.size(), in.place, "options ", i.first_option, " to ",
         i.first_option + i.options, " of ", listing.numbers.size(), " numbers");
    in.place.kernel = nullptr;
    return i;
}

void read_job(Reader& in, Listing& listing) {
    Job job{};
    job.rows = in.size("the rows of a job");
    job.columns = in.size("the columns of a job");
    const std::size_t flags = in.size("the flags of a job", 7);
    job.split_rows = flags & 1;
    job.split_columns = flags & 2;
    job.row_blocks = flags & 4;
    job.local_bytes = in.size("the local bytes of a job");
    const std::size_t n = in.count("the number of instructions", 5);
    job.first = listing.instructions.size();
    for (std::size_t i = 0; i < n; ++i) {
        in.place.instruction = static_cast<std::ptrdiff_t>(i);
        listing.instructions.push_back(read_instruction(in, listing));
    }
    in.place.instruction = -1;
    job.last = listing.instructions.size();
    listing.jobs.push_back(job);
}

}  // namespace

void refuse(const Place& place, const std::string& what) {
    std::string text;
    if (place.stage >= 0) text += "stage " + std::to_string(place.stage);
    if (place.job >= 0) text += ", job " + std::to_string(place.job);
    if (place.instruction >= 0) text += ", instruction " + std::to_string(place.instruction);
    if (place.kernel != nullptr) text += std::string(" (") + place.kernel + ")";
    throw std::invalid_argument(text.empty() ? what : text + ": " + what);
}

Listing decode(std::span<const std::int64_t> words, std::span<const double> numbers, std::size_t element) {
    Listing listing;
    listing.words.assign(words.begin(), words.end());
    listing.numbers.assign(numbers.begin(), numbers.end());
    listing.element = element;
    Reader in(listing.words);
    const std::int64_t first = in.word("the magic number"), second = in.word("the version");
    want(first == magic && second == version, in.place, "no program of version ", version, ": it begins with ", first,
         " and ", second);
    const std::size_t item = in.size("the item size");
    want(item == element, in.place, "numbers of ", element, " bytes expected; got ", item);
    const std::size_t values = in.size("the number of values");
    listing.bound = in.size("the number of bound arrays", most_named);
    listing.state_bytes = in.size("the bytes of state");
    listing.arena_bytes = in.size("the bytes of the arena");
    listing.scalars = in.size("the number of scalars", most_named);
    listing.sources = in.size("the number of sources", most_named);
    const std::size_t stages = in.size("the number of stages");
    want(values <= in.left() / value_words && values <= most_values, in.place, values, " values, but ", in.left(), " words are left");
    listing.values.reserve(values);
    for (std::size_t i = 0; i < values; ++i) listing.values.push_back(read_value(in, listing));
    want(stages <= in.left(), in.place, stages, " stages, but ", in.left(), " words are left");
    listing.stages.reserve(stages);
    for (std::size_t s = 0; s < stages; ++s) {
        in.place = {.stage = static_cast<std::ptrdiff_t>(s)};
        const std::size_t jobs = in.count("the number of jobs", 5);
        const std::size_t first_job = listing.jobs.size();
        for (std::size_t j = 0; j < jobs; ++j) {
            in.place.job = static_cast<std::ptrdiff_t>(j);
            read_job(in, listing);
        }
        listing.stages.push_back({first_job, listing.jobs.size()});
    }
    in.place = {};
    want(in.left() == 0, in.place, in.left(), " words follow the last stage");
    return listing;
}

}  // namespace lw::program
