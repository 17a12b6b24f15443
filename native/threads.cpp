#include "threads.h"

#include <fcntl.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "pool.h"

namespace lw {
namespace {

using std::string;
using std::string_view;

// What one thread does in a microsecond, in operations of a fused kernel (30 per nanosecond: AVX2, half of its peak).
// A slower processor is then given its threads a little late, which costs less than too early.
constexpr double flops_per_thread = 20.0 * 30e3;

// The whole file; nothing where it is missing, no file, or longer than any that the kernel writes.
std::optional<string> read_file(const string& path) {
    // Not to hang on a pipe that somebody left in that place.
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0) return std::nullopt;
    constexpr std::size_t longest = std::size_t{4} << 20;
    string text;
    char block[4096];
    ssize_t count;
    while ((count = ::read(file, block, sizeof block)) > 0 && text.size() <= longest) {
        text.append(block, static_cast<std::size_t>(count));
    }
    ::close(file);
    if (count != 0) return std::nullopt;
    return text;
}

string_view before(string_view& text, char separator) {
    const std::size_t end = text.find(separator);
    const string_view head = text.substr(0, end);
    text.remove_prefix(end == string_view::npos ? text.size() : end + 1);
    return head;
}

string_view trimmed(string_view text) {
    constexpr string_view blank = " \t\r\n";
    const std::size_t first = text.find_first_not_of(blank);
    if (first == string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

// All of the text, in digits; from_chars knows no locale.
std::optional<std::int64_t> whole_number(string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// Whether a list with commas ("cpu,cpuacct") names the word.
bool names(string_view list, string_view word) {
    while (!list.empty()) {
        if (before(list, ',') == word) return true;
    }
    return false;
}

constexpr int no_quota = std::numeric_limits<int>::max();

int processors_of(std::optional<std::int64_t> quota, std::optional<std::int64_t> period) {
    if (!quota || !period || *quota <= 0 || *period <= 0) return no_quota;
    return static_cast<int>(std::min<std::int64_t>((*quota - 1) / *period + 1, no_quota));
}

int quota_in_folder(const string& folder, bool unified) {
    if (unified) {
        const auto text = read_file(folder + "/cpu.max");
        if (!text) return no_quota;
        string_view rest = trimmed(*text);
        const auto quota = whole_number(before(rest, ' '));  // "max" is no number
        return processors_of(quota, whole_number(rest));
    }
    const auto quota = read_file(folder + "/cpu.cfs_quota_us");
    const auto period = read_file(folder + "/cpu.cfs_period_us");
    if (!quota || !period) return no_quota;
    return processors_of(whole_number(trimmed(*quota)), whole_number(trimmed(*period)));  // -1: none
}

// The group's folder and all above it, up to the mount point.
int quota_of_group(const string& mount, string group, bool unified) {
    // Outside of what this namespace shows ("/../other"): only the mount point itself can be read.
    if ((group + "/").find("/../") != string::npos) group.clear();
    int fewest = no_quota;
    for (;;) {
        while (!group.empty() && group.back() == '/') group.pop_back();
        fewest = std::min(fewest, quota_in_folder(mount + group, unified));
        const std::size_t slash = group.rfind('/');
        if (slash == string::npos) return fewest;
        group.resize(slash);
    }
}

// A path in mountinfo has blanks and the like as \040.
string unescaped(string_view text) {
    string plain;
    const auto octal = [](char c) { return c >= '0' && c <= '7'; };
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '\\' && i + 3 < text.size() && octal(text[i + 1]) && octal(text[i + 2]) && octal(text[i + 3])) {
            plain += static_cast<char>(64 * (text[i + 1] - '0') + 8 * (text[i + 2] - '0') + (text[i + 3] - '0'));
            i += 3;
        } else {
            plain += text[i];
        }
    }
    return plain;
}

struct Mount {
    string point;  // where the hierarchy is seen
    string top;    // which of its groups is seen there
};

// Where the hierarchy of the processor controller is mounted: the line "id parent device top point options … - type
// source options".
std::optional<Mount> find_mount(string_view mountinfo, bool unified) {
    while (!mountinfo.empty()) {
        string_view line = before(mountinfo, '\n');
        const std::size_t dash = line.find(" - ");
        if (dash == string_view::npos) continue;
        string_view tail = line.substr(dash + 3);
        const string_view type = before(tail, ' ');
        before(tail, ' ');
        if (unified ? type != "cgroup2" : type != "cgroup" || !names(trimmed(tail), "cpu")) continue;
        string_view head = line.substr(0, dash);
        for (int i = 0; i < 3; ++i) before(head, ' ');
        const string_view top = before(head, ' ');
        const string_view point = before(head, ' ');
        if (!point.empty()) return Mount{unescaped(point), unescaped(top)};
    }
    return std::nullopt;
}

int quota_of_hierarchy(const string& root, string_view mountinfo, string group, bool unified) {
    Mount mount = find_mount(mountinfo, unified).value_or(Mount{unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", "/"});
    // A container without a namespace of groups is shown its own group as the mount point, but called by its full path.
    while (!mount.top.empty() && mount.top.back() == '/') mount.top.pop_back();
    if (!mount.top.empty()) {
        const bool below = group.starts_with(mount.top) &&
                           (group.size() == mount.top.size() || group[mount.top.size()] == '/');
        group = below ? group.substr(mount.top.size()) : string();
    }
    return quota_of_group(root + mount.point, std::move(group), unified);
}

int affinity_processors() {
#if defined(__linux__)
    // Larger sets than cpu_set_t's 1024: the call fails until the set is as large as the kernel's.
    for (int size = 1024; size <= 1 << 20; size *= 2) {
        cpu_set_t* set = CPU_ALLOC(size);
        if (set == nullptr) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(size);
        const bool known = sched_getaffinity(0, bytes, set) == 0;
        const int count = known ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
#endif
    const long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? static_cast<int>(std::min<long>(count, no_quota)) : 1;
}

std::atomic<int> usable{0};

}  // namespace

int quota_processors(const string& root) {
    const auto groups = read_file(root + "/proc/self/cgroup");
    if (!groups) return 0;
    const string mountinfo = read_file(root + "/proc/self/mountinfo").value_or("");
    int fewest = no_quota;
    for (string_view rest = *groups; !rest.empty();) {
        string_view line = before(rest, '\n');  // "0::/group" in version 2, "3:cpu,cpuacct:/group" in version 1
        const string_view number = before(line, ':');
        const string_view controllers = before(line, ':');
        const bool unified = number == "0" && controllers.empty();
        if (line.empty() || line.front() != '/' || (!unified && !names(controllers, "cpu"))) continue;
        fewest = std::min(fewest, quota_of_hierarchy(root, mountinfo, string(line), unified));
    }
    return fewest == no_quota ? 0 : fewest;
}

int available_processors(const string& root) {
    const int quota = quota_processors(root);
    const int allowed = affinity_processors();
    return quota == 0 ? allowed : std::min(quota, allowed);
}

int usable_processors() {
    if (const int known = usable.load(std::memory_order_relaxed)) return known;
    int n = 0;
    const char* text = std::getenv("LAYERWISE_NUM_THREADS");
    if (const string_view asked = trimmed(text == nullptr ? "" : text); !asked.empty()) {
        const auto value = whole_number(asked);
        if (!value || *value < 1 || *value > Pool::max_threads) {
            throw std::invalid_argument("LAYERWISE_NUM_THREADS must be an integer from 1 to " +
                                        std::to_string(Pool::max_threads) + "; got \"" + string(asked) +
                                        "\". Unset it to use every processor that this process may use.");
        }
        n = static_cast<int>(*value);
    } else {
        n = std::min(available_processors(), Pool::max_threads);
    }
    usable.store(n, std::memory_order_relaxed);
    return n;
}

void set_usable_processors(int n) {
    if (n < 0 || n > Pool::max_threads) {
        throw std::invalid_argument("the number of threads must be an integer from 1 to " +
                                    std::to_string(Pool::max_threads) + ", or 0 to look again; got " +
                                    std::to_string(n) + ".");
    }
    usable.store(n, std::memory_order_relaxed);
}

int threads_for(double work_flops, int available) noexcept {
    const double wanted = 1.0 + work_flops / flops_per_thread;
    if (!(wanted >= 2.0)) return 1;  // also NaN
    return wanted < available ? static_cast<int>(wanted) : std::max(available, 1);
}

}  // namespace lw
