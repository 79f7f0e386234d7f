/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * A mapped file that is cut short, or whose disk fails, shows as SIGBUS where it is read. That ends
 * the process in any case; this makes it end with a word: the file and the place.
 */
#ifndef MLQ_SYS_MAPFAULT_H
#define MLQ_SYS_MAPFAULT_H

#include <stddef.h>

/* Once per process, which then leaves a fault in a watched mapping with this line on stderr and exit
 * status 1:
 *     PATH: byte N cannot be read: the file was cut short while it was in use, or its disk fails
 * Any other SIGBUS is as it was. */
void mlq_mapfault_install(void);

/* A mapping of `path` that begins with its first byte. Cheap, and right without install, too. Of the
 * mappings of a process 64 are watched at a time; the path's last 255 bytes are kept. */
void mlq_mapfault_watch(const void *map, size_t bytes, const char *path);
void mlq_mapfault_forget(const void *map); /* before it is unmapped */

#endif
