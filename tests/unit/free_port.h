/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#ifndef MLQ_TESTS_UNIT_FREE_PORT_H
#define MLQ_TESTS_UNIT_FREE_PORT_H

#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

/* A port of loopback that was free a moment ago. */
static inline uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

#endif
