/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Ports of this machine's loopback.
 */
#ifndef MLQ_CLI_PORT_H
#define MLQ_CLI_PORT_H

#include <stdbool.h>
#include <stdint.h>

/* Binds the port for a moment; 0 takes a free one. The port, or -1 with errno. */
int port_try(uint16_t port);

/* Of "tcp://127.0.0.1:PORT"; 0: it is none of those. */
uint16_t port_of(const char *endpoint);

/* Whether it can be bound, with some patience: a scheduler that was just killed holds its port
 * until the kernel has cleaned up. */
bool port_is_free(uint16_t port);

#endif
