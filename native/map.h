// Elementwise programs: chains of operations that run block by block, so that what lies between them stays in the
// first-level cache.
//
// An element's bits depend on the operations and its operands only: not on where it stands, nor on the range asked for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "isa.h"

namespace lw {

enum class MapMode : std::uint8_t { full = 0, row_vector = 1, column_vector = 2, scalar = 3 };

constexpr int map_registers = 48;  // at most, inputs included; and as many outputs

// The operations: kernels.def in its order, first those of one number, then of two, then of three.
int map_kernel_count();
const char* map_kernel_name(int kernel);
int map_kernel_arity(int kernel);
int map_kernel_options(int kernel);

struct MapOp {
    std::uint16_t kernel;
    std::uint16_t out, a, b, c;  // registers; b and c where the arity asks for them
    std::uint16_t option;        // index of its first option
};

// A program as it is run; the arrays belong to the caller. Registers 0 … inputs-1 hold the inputs and are not written;
// an output is the register of some op.
template <class T>
struct MapCode {
    int inputs, outputs, registers, ops;
    const MapMode* modes;           // of the inputs
    const std::uint16_t* results;   // registers of the outputs
    const MapOp* code;
    const T* options;
};

template <class T>
struct MapInput {
    const T* data;       // element (0, 0) of the range
    std::size_t stride;  // between rows: full and column_vector
};

template <class T>
struct MapOutput {
    T* data;
    std::size_t stride;
};

// Runs the program on rows × columns elements. An output may be the memory of a full input.
//
// What runs often is prepared once (PreparedMap in prepared_map.h): prepare fills prepared_size bytes of memory at a
// multiple of 16, which run_prepared only reads, and which keep nothing of the code. run does both at every call, which
// costs some 20 ns for each operation.
template <class T>
struct Maps {
    void (*run)(const MapCode<T>& code, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
                std::size_t columns);
    std::size_t (*prepared_size)(const MapCode<T>& code);
    void (*prepare)(const MapCode<T>& code, void* memory);
    void (*run_prepared)(const void* memory, const MapInput<T>* inputs, const MapOutput<T>* outputs, std::size_t rows,
                         std::size_t columns);
};

// The set must be available.
template <class T>
const Maps<T>& maps(Isa isa);

}  // namespace lw
