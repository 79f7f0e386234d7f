/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include <stdio.h>

#include "worker/coll/coll.h"

void coll_missing_text(uint64_t present, uint32_t size, char *text)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t rank = 0; rank < size; rank++) {
        if ((present >> rank & 1) == 0) {
            int more = snprintf(text + used, COLL_MISSING_BYTES - used, "%s%u",
                                used == 0 ? "" : ", ", rank);
            used += (size_t)more;
        }
    }
}
