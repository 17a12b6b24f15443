// Elementwise functions on the vectors of one instruction set: exp_v<T>(x), tanh_v<T>(x), … for T = float and double.
//
// Included by *_isa.cpp only (see simd.h). Each lane depends on its own number alone, so an element has the same bits
// wherever it stands in an array. No flush to zero: subnormal numbers come in and go out. NaN gives NaN.
// "Measured" is the largest error in units in the last place (ULP) of the exact result that tests/native/test_math.py or a
// longer search found, on any instruction set; subnormal results, edges and huge arguments included.
#pragma once

#include "math_activations.h"
