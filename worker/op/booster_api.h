/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * XGBoost's C library, loaded by the operator that needs it: to link it would cost every start of
 * mlq-op 3 ms. Written for 1.7.4 (Debian 12); its header gives the types, so a call that changed
 * does not compile.
 */
#ifndef MLQ_OP_BOOSTER_API_H
#define MLQ_OP_BOOSTER_API_H

#include <xgboost/c_api.h>

#include "lib/base/err.h"

#define BOOSTER_API_FUNCTIONS(X)                                                                   \
    X(XGBGetLastError)                                                                             \
    X(XGBRegisterLogCallback)                                                                      \
    X(XGBoostVersion)                                                                              \
    X(XGDMatrixCreateFromDense)                                                                    \
    X(XGDMatrixFree)                                                                               \
    X(XGDMatrixSetFloatInfo)                                                                       \
    X(XGBoosterBoostedRounds)                                                                      \
    X(XGBoosterCreate)                                                                             \
    X(XGBoosterFree)                                                                               \
    X(XGBoosterLoadModelFromBuffer)                                                                \
    X(XGBoosterPredictFromDMatrix)                                                                 \
    X(XGBoosterSaveModelToBuffer)                                                                  \
    X(XGBoosterSetParam)                                                                           \
    X(XGBoosterSetStrFeatureInfo)                                                                  \
    X(XGBoosterSlice)                                                                              \
    X(XGBoosterUpdateOneIter)

struct booster_api {
#define BOOSTER_API_MEMBER(name) __typeof__(&(name)) name;
    BOOSTER_API_FUNCTIONS(BOOSTER_API_MEMBER)
#undef BOOSTER_API_MEMBER
};

/* Once for a process, before it has other threads. MLQ_ENOTSUP with the way out when the library is
 * not there or too old. It stays loaded. */
int booster_api_load(struct booster_api *api, struct mlq_err *err);

/* What the library said last, as one line. Valid until its next call. */
const char *booster_api_reason(const struct booster_api *api, char *text, size_t bytes);

#endif
