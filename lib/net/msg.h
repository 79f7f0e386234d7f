/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Every message of the protocol as plain structs: what codec.c makes of protobuf frames and back.
 * Decoded slices and arrays live in the region given to the decoder. Counts, sizes and depth were
 * checked before (lib/net/limits.h); meaning was not: ids, names and digests come from outside.
 *
 * Three parties: a worker and a client each hold one connection to the scheduler. Who a peer is,
 * is its key (net.h), never what a message says.
 */
#ifndef MLQ_NET_MSG_H
#define MLQ_NET_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/str.h"

#define MSG_PROTOCOL_VERSION 1 /* the scheduler and its peers must agree */

enum msg_kind {
    MSG_NONE,
    /* worker to scheduler */
    MSG_HELLO,
    MSG_HEARTBEAT,
    MSG_REPORT,
    MSG_LOG_DATA,
    MSG_RECORD_REQUEST,
    MSG_LEAVING,
    /* scheduler to worker */
    MSG_WELCOME,
    MSG_HEARTBEAT_ACK,
    MSG_ASSIGN,
    MSG_KILL,
    MSG_FENCED,
    MSG_ACK,
    MSG_CHECKPOINT,
    MSG_MEMBERSHIPS,
    MSG_LOG_READ,
    MSG_RECORD_REPLY,
    /* scheduler to either */
    MSG_REFUSED,
    /* client to scheduler and back */
    MSG_REQUEST,
    MSG_REPLY,
};

/* One rank of one attempt: the unit that a worker runs. */
struct msg_member {
    uint64_t attempt;
    uint32_t rank;
};

struct msg_gpu {
    struct mlq_str model; /* "NVIDIA H100 80GB HBM3" */
    int64_t mem_bytes;    /* 0: not known */
};

/* First message of a worker on each connection. */
struct msg_hello {
    uint64_t session; /* grows with each hello of this worker, also across its restarts */
    struct mlq_str software; /* "mlq 0.1.0" */
    struct mlq_str host;
    int64_t cpu_milli;
    int64_t mem_bytes;
    uint32_t gpu_count;
    const struct mlq_str *gpu_uuids; /* gpu_count of them; number = place */
    const struct msg_gpu *gpus;      /* of the same places, for people; older workers send none */
    size_t gpu_detail_count;         /* gpu_count or 0 */
    struct mlq_str address; /* where other workers reach tasks on this machine: for gangs */
    uint16_t port_first;    /* ports that ranks may listen on */
    uint16_t port_count;
    const struct msg_member *claims; /* all that run here or have ended unacknowledged */
    size_t claim_count;
};

struct msg_progress {
    struct msg_member member;
    double fraction; /* 0..1, or negative: not said */
    struct mlq_str text;
};

/* Where a rank of a training is (lib/task/task_flight.h). */
struct msg_flight {
    struct msg_member member;
    struct mlq_str phase;
    bool waits; /* for other ranks */
    uint64_t epoch;
    uint64_t step;
    int64_t age_ns; /* how long the phase has lasted when this was sent */
};

struct msg_heartbeat {
    uint64_t session;
    int64_t sent_ns; /* the worker's CLOCK_BOOTTIME; comes back in the acknowledgement */
    const struct msg_progress *progress; /* of what changed */
    size_t progress_count;
    const struct msg_flight *flights;
    size_t flight_count;
};

struct msg_heartbeat_ack {
    uint64_t session;
    int64_t sent_ns;
};

struct msg_metric {
    struct mlq_str name;
    int64_t step; /* INT64_MIN: none */
    double value;
    int64_t at_us;
};

struct msg_artifact {
    struct mlq_str name; /* inner path below MLQ_OUTPUT; ".log" is the attempt's log */
    struct mlq_str digest;
    uint64_t bytes;
    bool is_tree;
};

enum msg_report_kind { MSG_REPORT_STARTED, MSG_REPORT_NOTE, MSG_REPORT_ENDED, MSG_REPORT_READY };

struct msg_report_item {
    enum msg_report_kind kind;
    struct msg_member member;
    uint32_t cause; /* ENDED: enum core_cause; 0: success */
    int32_t exit_code; /* -1: none */
    int32_t signal;
    struct mlq_str detail; /* one line for people */
    const struct msg_metric *metrics; /* NOTE, ENDED */
    size_t metric_count;
    const struct msg_artifact *artifacts; /* ENDED */
    size_t artifact_count;
    int64_t at_us; /* the worker's wall clock, for the record only */
    /* READY, of a rank of an elastic attempt: */
    uint16_t port;        /* where it can be met */
    uint64_t fingerprint; /* what all members must have; not 0 */
    uint64_t generation;  /* of the membership that broke; 0: none did */
};

struct msg_report {
    const struct msg_report_item *items;
    size_t count;
};

struct msg_input {
    struct mlq_str name; /* becomes MLQ_INPUT_<NAME> */
    struct mlq_str file; /* name of the file or folder that the task sees */
    struct mlq_str digest;
    bool is_tree;
    bool in_folder; /* one of several artifacts: <NAME> is a folder that holds them */
};

struct msg_env {
    struct mlq_str name;
    struct mlq_str value;
};

struct msg_assignment {
    struct msg_member member;
    uint64_t job;
    uint32_t stage;
    uint32_t index;
    uint32_t array_count;
    uint32_t ranks;
    struct mlq_str job_name;
    struct mlq_str stage_name;
    struct mlq_str uses; /* operator name; empty: argv is a user's command */
    const struct mlq_str *argv;
    size_t argc;
    const struct msg_env *env; /* of the spec */
    size_t env_count;
    struct mlq_str with; /* JSON of the operator's parameters */
    const struct msg_input *inputs;
    size_t input_count;
    struct mlq_str code; /* digest of the tree that the work folder starts from; empty: none */
    int64_t cpu_milli;
    int64_t mem_bytes;
    uint64_t gpu_mask;
    int64_t timeout_ns; /* 0: none */
    int64_t grace_ns;
    int64_t deadline_wall_us; /* of the job; 0: none */
    /* Gang: where rank 0 runs, and how the ranks lie on the machines. */
    struct mlq_str master_addr;
    uint16_t master_port;
    uint32_t local_rank;
    uint32_t local_ranks;
    uint32_t group_rank; /* number of this machine in the gang */
    uint32_t group_count;
    uint32_t restart_count; /* earlier attempts of this task */
    uint32_t restart_limit;
    const struct mlq_str *rank_addresses; /* "host:port" for each rank (TF_CONFIG) */
    size_t rank_address_count;
    /* Elastic: ranks go and come while it runs. Both 0: it is not. */
    uint32_t ranks_min;
    uint32_t ranks_max;
};

struct msg_assign {
    uint64_t session; /* of the hello that this answers: stale ones are dropped by the worker */
    const struct msg_assignment *items;
    size_t count;
};

struct msg_kill_item {
    struct msg_member member;
    uint32_t cause;
    int64_t grace_ns;
};

struct msg_kill {
    const struct msg_kill_item *items;
    size_t count;
};

/* Who of an elastic attempt works together, by rank, for one of them. No peers: the work is done. */
struct msg_peer {
    uint32_t rank;
    struct mlq_str address;
    uint16_t port;
};

struct msg_membership {
    struct msg_member member;
    uint64_t generation;
    const struct msg_peer *peers;
    size_t peer_count;
};

struct msg_memberships {
    const struct msg_membership *items;
    size_t count;
};

struct msg_members { /* MSG_ACK, MSG_FENCED, MSG_CHECKPOINT */
    const struct msg_member *items;
    size_t count;
};

struct msg_welcome {
    struct mlq_str cluster;
    uint64_t session;
    uint32_t worker;
    int64_t lease_ns;
    int64_t heartbeat_ns;
};

struct msg_refused {
    int32_t code; /* enum mlq_code */
    struct mlq_str text;
    uint32_t version_theirs; /* for a version mismatch: what the peer spoke, as seen by the sender */
    uint32_t version_ours;
};

/* Logs, by pull: the reader names an offset and gets what is there, or waits up to wait_ns for more. */
struct msg_log_read {
    uint64_t request;
    struct msg_member member;
    uint64_t offset;
    uint32_t bytes_max;
    int64_t wait_ns;
};

struct msg_log_data {
    uint64_t request;
    int32_t code;
    uint64_t offset; /* of the first byte; greater than asked when the middle was dropped */
    struct mlq_str bytes;
    bool end; /* the task has ended and this was the last byte */
};

struct msg_record_request {
    uint64_t request;
    struct msg_member member;
};

struct msg_record_reply {
    uint64_t request;
    int32_t code;
    struct mlq_str json;
};

/* ---- Clients --------------------------------------------------------------------------------- */

enum msg_op {
    MSG_OP_STATUS,  /* cluster, leader, epoch, counts: JSON */
    MSG_OP_NODES,   /* workers and what they run: JSON */
    MSG_OP_SUBMIT,  /* spec, key -> job */
    MSG_OP_CANCEL,  /* job, text = reason */
    MSG_OP_RETRY,   /* job */
    MSG_OP_SHOW,    /* job */
    MSG_OP_LIST,    /* name, selector = state, limit, before */
    MSG_OP_METRICS, /* job, stage, name */
    MSG_OP_RESOLVE, /* selector -> {"jobs": [...]} */
    MSG_OP_WATCH,   /* job, version, wait_ns: the job's stages and progress when newer than version */
    MSG_OP_LOG,     /* job, stage, index, rank, offset, bytes_max, wait_ns -> blob, offset, end */
    MSG_OP_CHECKPOINT, /* job, stage (may be empty: all): what runs is asked to save -> {"asked": N} */
};

struct msg_request {
    uint64_t id; /* the client's; comes back in the reply */
    enum msg_op op;
    struct mlq_str key; /* idempotency key of SUBMIT, CANCEL, RETRY */
    struct mlq_str spec;
    uint64_t job;
    struct mlq_str selector;
    struct mlq_str stage;
    struct mlq_str name;
    struct mlq_str text;
    uint32_t index;
    uint32_t rank;
    uint32_t limit;
    uint32_t bytes_max;
    uint64_t before;
    uint64_t offset;
    uint64_t version;
    int64_t wait_ns;
    bool feasible_only; /* SUBMIT: refuse what no worker that is connected now has room for */
};

struct msg_reply {
    uint64_t id;
    int32_t code; /* enum mlq_code; 0: done */
    struct mlq_str text; /* why, when not done; a warning else */
    struct mlq_str blob; /* JSON, or log bytes */
    uint64_t job;
    uint64_t offset;
    bool end;
};

struct msg {
    enum msg_kind kind;
    uint32_t epoch; /* of the leader that sends, or that the sender last heard of; 0: none yet */
    union {
        struct msg_hello hello;
        struct msg_heartbeat heartbeat;
        struct msg_report report;
        struct msg_log_data log_data;
        struct msg_record_request record_request;
        struct msg_welcome welcome;
        struct msg_heartbeat_ack heartbeat_ack;
        struct msg_assign assign;
        struct msg_kill kill;
        struct msg_members fenced;
        struct msg_members ack;
        struct msg_members checkpoint; /* save your state and go on: SIGUSR1 */
        struct msg_memberships memberships;
        struct msg_log_read log_read;
        struct msg_record_reply record_reply;
        struct msg_refused refused;
        struct msg_request request;
        struct msg_reply reply;
    };
};

#endif
