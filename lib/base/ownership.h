/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ownership, said in the prototype. The macros expand to nothing: they are for readers and grep.
 */
#ifndef MLQ_BASE_OWNERSHIP_H
#define MLQ_BASE_OWNERSHIP_H

#define MLQ_TAKES        /* the callee becomes the owner of this argument */
#define MLQ_BORROWS      /* the callee keeps a pointer to this argument past its return */
#define MLQ_OWNED_RETURN /* the caller owns what is returned and must destroy it */

#define MLQ_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define MLQ_CONTAINER_OF(pointer, type, member)                                                    \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
