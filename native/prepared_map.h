// An elementwise program that is made ready once and run often (see map.h).
#pragma once

#include <cstddef>
#include <memory>

#include "map.h"

namespace lw {

// Keeps nothing of the code it is made from. Runs may overlap in several threads.
template <class T>
class PreparedMap {
public:
    PreparedMap(const MapCode<T>& code, Isa isa);

    void run(const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows, std::size_t columns) const {
        run_(memory_.get(), inputs, outputs, rows, columns);
    }

private:
    decltype(Maps<T>::run_prepared) run_;
    std::unique_ptr<std::byte[]> memory_;
};

}  // namespace lw
