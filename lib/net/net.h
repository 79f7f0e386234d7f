/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Connections: one ROUTER for the scheduler, one DEALER for a worker or a client, both CURVE. The
 * server binds its ZAP handler before any socket and gives up (MLQ_EPERM) if it cannot: CURVE
 * without one would let anyone in.
 *
 * Delivery is not promised: messages may be lost at any time (a peer's queue is full, a connection
 * breaks). Everything that matters is acknowledged and repeated by the layers above.
 */
#ifndef MLQ_NET_NET_H
#define MLQ_NET_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/err.h"
#include "lib/base/ownership.h"
#include "lib/base/str.h"
#include "lib/net/msg.h"
#include "lib/sys/region.h"

#define NET_KEY_TEXT_BYTES 41 /* Z85 of a 32-byte CURVE key, and NUL */
#define NET_NAME_BYTES_MAX 63 /* [a-z0-9]([-a-z0-9_.]*[a-z0-9])? */

/* ---- Keys ------------------------------------------------------------------------------------ */

struct net_keypair {
    char public_key[NET_KEY_TEXT_BYTES];
    char secret_key[NET_KEY_TEXT_BYTES];
};

int net_keys_generate(struct net_keypair *pair, struct mlq_err *err);
/* Text file, mode 0600: "public <z85>\nsecret <z85>\n". Loading refuses a file that others may read. */
int net_keys_save(const char *path, const struct net_keypair *pair, struct mlq_err *err);
int net_keys_load(const char *path, struct net_keypair *pair, struct mlq_err *err);

enum net_role { NET_ROLE_CLIENT, NET_ROLE_WORKER };

/* The file of enrolled keys: one line a peer, "<client|worker> <name> <z85 public key>", # comments.
 * Appends durably; a name or key that is there already with other content is MLQ_EEXIST. */
int net_keys_enroll(const char *path,
                    enum net_role role,
                    const char *name,
                    const char *public_key,
                    struct mlq_err *err);

/* ---- Server ---------------------------------------------------------------------------------- */

struct net_address { /* one connection of a peer; copy freely */
    uint8_t bytes[16];
    uint8_t len;
};

struct net_peer {
    struct net_address address;
    enum net_role role;
    const char *name;       /* enrolled under this name */
    const char *public_key; /* Z85 */
};

struct net_server_options {
    const char *endpoint;      /* "tcp://127.0.0.1:0" takes a free port: see net_server_endpoint */
    const char *key_path;      /* the server's key pair */
    const char *enrolled_path; /* read at start and again when it changes */
};

struct net_server;
struct uv_loop_s;

/* A decoded message of an enrolled peer whose role may send that kind. Everything lives until return.
 * The key is looked up for each message: a line removed from the file takes effect within two
 * seconds, for connections that stand as well (they are answered with MSG_REFUSED, MLQ_EPERM).
 * Sending to such an address is the caller's to stop. */
typedef void (*net_server_cb)(void *context, const struct net_peer *peer, const struct msg *msg);

int net_server_create(struct uv_loop_s *loop,
                      const struct net_server_options *options,
                      net_server_cb on_message,
                      void *context,
                      MLQ_OWNED_RETURN struct net_server **server,
                      struct mlq_err *err);

/* After each group of messages (at most one loop iteration's worth) this is called once: the place
 * to end a turn. NULL: none. */
void net_server_on_turn_end(struct net_server *server, void (*cb)(void *context));

const char *net_server_endpoint(const struct net_server *server);

/* Encode and queue. MLQ_ECONN: that connection is gone; MLQ_EFULL: its queue is full or msg is too large. */
int net_server_send(struct net_server *server,
                    const struct net_address *to,
                    const struct msg *msg,
                    struct mlq_err *err);

/* Frames refused so far, by cause, for status and logs. */
struct net_refusals {
    /* Connections that ended before they were any: no ZeroMQ, no CURVE, another server's key. Late by some seconds,
     * and never too many. */
    uint64_t handshakes;
    uint64_t not_enrolled;
    /* Too much in it, too deep, truncated, not UTF-8. A frame larger than LIMIT_FRAME_TO_SERVER_BYTES is not among
     * them: libzmq ends its connection, and its monitor says of that what it says of every connection that ends. */
    uint64_t malformed;
    uint64_t version;
    uint64_t wrong_role;
};
struct net_refusals net_server_refusals(const struct net_server *server);

void net_server_close(struct net_server **server, void (*closed)(void *context), void *context);

/* ---- Peer: worker or client ------------------------------------------------------------------ */

struct net_peer_options {
    const char *endpoint;          /* one endpoint */
    const char *server_public_key; /* Z85 */
    const struct net_keypair *keys;
};

/* Blocking, without a loop: for the command line. One thread. */
struct net_caller;
int net_caller_open(const struct net_peer_options *options,
                    MLQ_OWNED_RETURN struct net_caller **caller,
                    struct mlq_err *err);
/* Send `request` (its id is set here) and wait for its reply, decoded into `region`. A reply with a
 * code other than 0 is a success of the call. MLQ_ECONN: nothing was sent within the time (text says
 * why, as far as is known; a key that is not enrolled is said at once); MLQ_EUNKNOWN: sent, and no
 * answer, or the connection broke (at once), or an answer that cannot be read; MLQ_EPROTO: refused,
 * versions named; MLQ_EPERM: refused, this key may not call (any more); MLQ_EFULL, MLQ_EINVAL:
 * nothing was sent, the request is too large or its text is not UTF-8. */
int net_caller_call(struct net_caller *caller,
                    struct msg_request *request,
                    int64_t timeout_ns,
                    struct mlq_region *region,
                    struct msg_reply *reply,
                    struct mlq_err *err);
void net_caller_close(struct net_caller **caller);

/* On a loop: for the worker. Reconnects by itself; `on_connected` runs on each new connection (also
 * the first): say hello there. Messages queued for a lost connection are dropped. A scheduler that
 * speaks another version is reported as a message: MSG_REFUSED, MLQ_EPROTO, both versions named. */
struct net_link;
struct net_link_callbacks {
    void *context;
    void (*connected)(void *context);
    void (*disconnected)(void *context);
    void (*message)(void *context, const struct msg *msg);
};
int net_link_create(struct uv_loop_s *loop,
                    const struct net_peer_options *options,
                    const struct net_link_callbacks *callbacks,
                    MLQ_OWNED_RETURN struct net_link **link,
                    struct mlq_err *err);
/* MLQ_ECONN: not connected; MLQ_EFULL: the queue is full or msg is too large; MLQ_EINVAL: text that
 * is not UTF-8. Nothing was queued then. */
int net_link_send(struct net_link *link, const struct msg *msg, struct mlq_err *err);
void net_link_close(struct net_link **link, void (*closed)(void *context), void *context);

#endif
