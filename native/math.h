// Elementwise functions on the vectors of one instruction set: exp_v<T>(x), tanh_v<T>(x), … for T = float and double.
//
// Included by *_isa.cpp only (see simd.h). Each lane depends on its own number alone, so an element has the same bits
// wherever it stands in an array. No flush to zero: subnormal numbers come in and go out. NaN gives NaN.
// "Measured" is the largest error, in units in the last place (ULP) of the exact result, that searches found, subnormal
// results, edges and huge arguments included: exp, expm1, log, log1p, tanh, sin, cos, erf, erfc and normal_cdf in float32
// on every 61st bit pattern (baseline, AVX-512; AVX2 on every 4093rd); the first seven in float64 on 23 million numbers;
// everything else against mpmath on some 30 000. tests/native/test_math.py holds a little more than that as bounds.
#pragma once

#include "math_activations.h"
