/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/sys/clock.h"

#define PATIENCE_NS (3 * MLQ_NS_PER_S)

int port_try(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    socklen_t len = sizeof address;
    int on = 1; /* as the scheduler does: what lingers of a killed one is not in the way */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                 bind(fd, (struct sockaddr *)&address, len) == 0 && listen(fd, 1) == 0 &&
                 getsockname(fd, (struct sockaddr *)&address, &len) == 0;
    int error = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = error;
    return bound ? ntohs(address.sin_port) : -1;
}

uint16_t port_of(const char *endpoint)
{
    unsigned port = 0;
    return endpoint != NULL && sscanf(endpoint, "tcp://127.0.0.1:%u", &port) == 1 && port <= UINT16_MAX
               ? (uint16_t)port
               : 0;
}

bool port_is_free(uint16_t port)
{
    int64_t deadline = mlq_clock_boot_ns() + PATIENCE_NS;
    while (port_try(port) < 0) {
        if (mlq_clock_boot_ns() > deadline) {
            return false;
        }
        (void)poll(NULL, 0, 50);
    }
    return true;
}
