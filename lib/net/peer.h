/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The socket of a worker or client, and what is known of its connection. A message is queued only
 * while there is a connection (ZMQ_IMMEDIATE), so "not connected" means "not sent".
 */
#ifndef MLQ_NET_PEER_H
#define MLQ_NET_PEER_H

#include <stdbool.h>

#include "lib/net/net.h"

enum peer_event {
    PEER_NOTHING,      /* no more to read */
    PEER_TRYING,       /* something happened that changes nothing */
    PEER_CONNECTED,    /* the handshake is done: both keys are accepted */
    PEER_DISCONNECTED, /* after CONNECTED; the socket tries again */
    PEER_NO_LISTENER,  /* connection refused, or timed out */
    PEER_CUT_OFF,      /* closed in the handshake: wrong server key, or no mlq there */
    PEER_NOT_ENROLLED, /* the server said no to our key; nothing more happens: peer_reconnect */
};

struct peer {
    void *context;
    void *socket;  /* DEALER */
    void *monitor; /* PAIR: read it with peer_next */
    char *endpoint;
    bool connected;
    enum peer_event last_failure; /* NO_LISTENER, CUT_OFF, NOT_ENROLLED or NOTHING */
};

int peer_open(struct peer *peer, const struct net_peer_options *options, struct mlq_err *err);

/* Waits for queued messages at most `linger_ms`. Legal on a zeroed struct. */
void peer_close(struct peer *peer, int linger_ms);

/* The next thing that happened to the connection; keeps `connected` and `last_failure`. */
enum peer_event peer_next(struct peer *peer);

/* Drop what there is of a connection and begin anew: libzmq gives up for ever after a handshake
 * that was answered with no, and after a message over the limit. */
int peer_reconnect(struct peer *peer, struct mlq_err *err);

/* "nothing listens there"... for errors. */
const char *peer_failure_text(enum peer_event failure);

/* One frame, decoded, its version checked. MLQ_EAGAIN: nothing to read. MLQ_EPROTO: another
 * version, both named. MLQ_ECORRUPT, MLQ_EFULL: not a message; drop it and read on. */
int peer_receive(struct peer *peer,
                 struct mlq_region *region,
                 struct msg *msg,
                 uint32_t *version,
                 struct mlq_err *err);

#endif
