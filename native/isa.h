// The instruction sets that the kernels are compiled for, and which of them this processor has.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lw {

enum class Isa { baseline = 0, avx2 = 1, avx512 = 2 };
constexpr int isa_count = 3;

const char* isa_name(Isa isa);

// Whether this build holds the set and this processor and its operating system run it.
bool isa_available(Isa isa);

// std::invalid_argument for a name of no set that is available here.
Isa isa_named(std::string_view name);

// The one that LAYERWISE_ISA names, read once per process, or else the widest one available.
Isa best_isa();

// The one of that name, or the best one where none is given.
Isa isa_or_best(const std::optional<std::string>& name);

}  // namespace lw
