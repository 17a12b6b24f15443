// Elementwise functions on the vectors of one instruction set: exp_v<T>(x), tanh_v<T>(x), … for T = float and double.
//
// Included by *_isa.cpp only (see simd.h). Each lane depends on its own number alone, so an element has the same bits
// wherever it stands in an array. No flush to zero: subnormal numbers come in and go out. NaN gives NaN.
// "Measured" is the largest error, in units in the last place (ULP) of the exact result, that a search found on any
// instruction set: every 61st float32 and tens of millions of float64, subnormal results, edges and huge arguments
// included. tests/native/test_math.py holds a little more than that as bounds.
#pragma once

#include "math_activations.h"
