/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Exponential, tanh and the normal distribution in float, by additions and products alone: the same
 * bits on every machine (the C library's differ with the CPU), and loops over them are vectorised.
 * A NaN gives a NaN.
 */
#ifndef MLQ_ML_FUNC_H
#define MLQ_ML_FUNC_H

#include <stdint.h>
#include <string.h>

/* e^x within 2 units of the last place; 0 below about -87, the largest finite power above 88.
 * Reduction by Cody and Waite (1980), polynomial of the Cephes library (Moshier 1989), expf. */
static inline float func_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float clamped = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float shifted = clamped * 1.44269504088896341f + magic;
    float n = shifted - magic;
    float r = clamped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof(bits));
    bits = (bits + 127u - 0x4b400000u) << 23; /* 2^n */
    float power;
    memcpy(&power, &bits, sizeof(power));
    float y = p * power;
    return x < -87.0f ? 0.0f : y;
}

/* Cephes, tanhf: a polynomial near zero, where 1 - 2 / (e^2x + 1) would lose digits. */
static inline float func_tanh(float x)
{
    float size = x < 0.0f ? -x : x;
    float s = x * x;
    float p = -5.70498872745e-3f;
    p = p * s + 2.06390887954e-2f;
    p = p * s - 5.37397155531e-2f;
    p = p * s + 1.33314422036e-1f;
    p = p * s - 3.33332819422e-1f;
    float near = p * s * x + x;
    float far = 1.0f - 2.0f / (func_exp(2.0f * size) + 1.0f);
    far = x < 0.0f ? -far : far;
    return size < 0.625f ? near : far;
}

/* The standard normal distribution at x: its integral up to x, and its density there. By Hastings'
 * formula for the error function (Abramowitz and Stegun 1964, 7.1.26: within 7.5e-8 here). */
struct func_normal {
    float integral;
    float density;
};

static inline struct func_normal func_normal(float x)
{
    float size = (x < 0.0f ? -x : x) * 0.70710678118654752f;
    float e = func_exp(-0.5f * x * x);
    float t = 1.0f / (1.0f + 0.3275911f * size);
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float tail = 0.5f * p * t * e;
    return (struct func_normal){.integral = x < 0.0f ? tail : 1.0f - tail,
                                .density = 0.39894228040143268f * e};
}

#endif
