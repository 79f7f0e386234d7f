/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#ifndef MLQ_WORKER_VERSION_H
#define MLQ_WORKER_VERSION_H

#ifndef MLQ_VERSION
#define MLQ_VERSION "unknown" /* worker/CMakeLists.txt gives the project's */
#endif

#endif
