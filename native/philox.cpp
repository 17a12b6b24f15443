#include "philox.h"

#include <algorithm>

namespace lw {

void random_words(const RandomAddress& address, std::uint64_t first, std::size_t n, std::uint64_t* out) {
    const Philox philox(address);
    std::uint64_t j = first / 4;
    const std::size_t skipped = first % 4, head = skipped ? std::min(n, 4 - skipped) : 0;
    if (head > 0) std::copy_n(philox.block(j++).word + skipped, head, out);
    out += head;
    n -= head;
    for (; n >= 4; n -= 4, out += 4) {
        const Philox::Block block = philox.block(j++);
        for (int k = 0; k < 4; ++k) out[k] = block.word[k];
    }
    if (n > 0) std::copy_n(philox.block(j).word, n, out);
}

}  // namespace lw
