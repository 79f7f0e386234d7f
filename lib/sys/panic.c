/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/base/panic.h"

#include <stdlib.h>

#include "lib/sys/log.h"

_Noreturn void mlq_panic(const char *file, int line, const char *what)
{
    log_error("panic", "at=%s:%d assertion=\"%s\"", file, line, what);
    abort();
}
