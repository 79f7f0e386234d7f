/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#ifndef MLQ_TESTS_UNIT_FREE_PORT_H
#define MLQ_TESTS_UNIT_FREE_PORT_H

#include "tests/unit/cm.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define FREE_PORT_FIRST 10000u
#define FREE_PORT_COUNT 10000u

/* A port of loopback that was free a moment ago. Nobody gets it meanwhile: it is below those that the kernel gives to
 * connections and to who asks for any, and below those of workers; and each process begins at another one. */
static inline uint16_t free_port(void)
{
    static uint32_t next;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint32_t begin = (uint32_t)getpid() * 97;
    int rc = -1;
    for (uint32_t tries = 0; rc != 0 && tries < FREE_PORT_COUNT; tries++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        address.sin_port = htons((uint16_t)(FREE_PORT_FIRST + (begin + next++) % FREE_PORT_COUNT));
        rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
        (void)close(fd);
    }
    assert_int_equal(rc, 0);
    return ntohs(address.sin_port);
}

#endif
