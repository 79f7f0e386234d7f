/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * For functions that are loops over many numbers: compiled for registers of 512 and of 256 bits, too,
 * and chosen by the CPU when the program is loaded. The bits do not depend on the choice: products
 * and sums are never fused (-ffp-contract=off, cmake/Warnings.cmake), sums are not brought into
 * another order, and a division or a root is exact to the last bit in any register.
 *
 * clang 14 gives the choice a name that other files do not find: it gets the narrow ones alone. So does the
 * thread sanitizer, which looks into the function that chooses, and that runs before the sanitizer is there.
 */
#ifndef MLQ_ML_WIDE_H
#define MLQ_ML_WIDE_H

#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__)
#define ML_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define ML_WIDE
#endif

#endif
