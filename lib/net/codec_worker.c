/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The bodies of worker.proto. x_get: protobuf-c's struct to ours; x_put: back.
 */
#include <string.h>

#include "lib/net/codec_part.h"
#include "lib/net/limits.h"

#define HELLO_FIELDS(N, T, P, B)                                                                   \
    N(session) T(software) T(host) N(cpu_milli) N(mem_bytes) T(address)
#define METRIC_FIELDS(N, T, P, B) T(name) N(step) N(at_us)
#define ARTIFACT_FIELDS(N, T, P, B) T(name) T(digest) N(bytes) N(is_tree)
#define REPORT_ITEM_FIELDS(N, T, P, B)                                                             \
    N(cause) N(exit_code) N(signal) P(detail) N(at_us) N(fingerprint) N(generation)
#define PROGRESS_FIELDS(N, T, P, B) N(fraction) P(text)
#define FLIGHT_FIELDS(N, T, P, B) T(phase) N(waits) N(epoch) N(step) N(age_ns)
#define HEARTBEAT_FIELDS(N, T, P, B) N(session) N(sent_ns)
#define WELCOME_FIELDS(N, T, P, B) T(cluster) N(session) N(worker) N(lease_ns) N(heartbeat_ns)
#define INPUT_FIELDS(N, T, P, B) T(name) T(file) T(digest) N(is_tree) N(in_folder)
#define ENV_FIELDS(N, T, P, B) T(name) T(value)
#define ASSIGNMENT_FIELDS(N, T, P, B)                                                              \
    N(job) N(stage) N(index) N(array_count) N(ranks) T(job_name) T(stage_name) T(uses) B(with)     \
    T(code) N(cpu_milli) N(mem_bytes) N(gpu_mask) N(timeout_ns) N(grace_ns) N(deadline_wall_us)    \
    T(master_addr) N(local_rank) N(local_ranks) N(group_rank) N(group_count) N(restart_count)      \
    N(restart_limit) N(ranks_min) N(ranks_max)
#define PEER_FIELDS(N, T, P, B) N(rank) T(address)
#define GPU_FIELDS(N, T, P, B) T(model) N(mem_bytes)
#define KILL_ITEM_FIELDS(N, T, P, B) N(cause) N(grace_ns)
#define LOG_READ_FIELDS(N, T, P, B) N(request) N(offset) N(bytes_max) N(wait_ns)
#define LOG_DATA_FIELDS(N, T, P, B) N(request) N(code) N(offset) B(bytes) N(end)
#define RECORD_REPLY_FIELDS(N, T, P, B) N(request) N(code) B(json)

_Static_assert((int)MSG_REPORT_STARTED == MLQ__V1__REPORT_KIND__STARTED &&
                   (int)MSG_REPORT_NOTE == MLQ__V1__REPORT_KIND__NOTE &&
                   (int)MSG_REPORT_ENDED == MLQ__V1__REPORT_KIND__ENDED &&
                   (int)MSG_REPORT_READY == MLQ__V1__REPORT_KIND__READY,
               "enum msg_report_kind and mlq.v1.ReportKind have the same numbers");
_Static_assert(sizeof(double) == sizeof(uint64_t), "value_bits holds a double");

/* A new protobuf-c struct in the region, with its defaults. */
#define NEW(Type, init)                                                                            \
    Type *to = mlq_region_alloc(part->region, sizeof *to);                                         \
    init(to)

/* ---- Parts ----------------------------------------------------------------------------------- */

static void member_get(struct codec_part *part, struct msg_member *to, const Mlq__V1__Member *from)
{
    if (from == NULL) {
        codec_bad(part, MLQ_ECORRUPT, "member", "missing");
        return;
    }
    *to = (struct msg_member){.attempt = from->attempt, .rank = from->rank};
}

static void member_put(struct codec_part *part, Mlq__V1__Member *to, const struct msg_member *from)
{
    (void)part;
    to->attempt = from->attempt;
    to->rank = from->rank;
}

static Mlq__V1__Member *member_new(struct codec_part *part, const struct msg_member *from)
{
    NEW(Mlq__V1__Member, mlq__v1__member__init);
    member_put(part, to, from);
    return to;
}

static void progress_get(struct codec_part *part, struct msg_progress *to,
                         const Mlq__V1__Progress *from)
{
    CODEC_GET(PROGRESS_FIELDS)
    member_get(part, &to->member, from->member);
}

static void progress_put(struct codec_part *part, Mlq__V1__Progress *to,
                         const struct msg_progress *from)
{
    CODEC_PUT(PROGRESS_FIELDS)
    to->member = member_new(part, &from->member);
}

static void flight_get(struct codec_part *part, struct msg_flight *to, const Mlq__V1__Flight *from)
{
    CODEC_GET(FLIGHT_FIELDS)
    member_get(part, &to->member, from->member);
}

static void flight_put(struct codec_part *part, Mlq__V1__Flight *to, const struct msg_flight *from)
{
    CODEC_PUT(FLIGHT_FIELDS)
    to->member = member_new(part, &from->member);
}

static void metric_get(struct codec_part *part, struct msg_metric *to, const Mlq__V1__Metric *from)
{
    (void)part;
    CODEC_GET(METRIC_FIELDS)
    memcpy(&to->value, &from->value_bits, sizeof to->value);
}

static void metric_put(struct codec_part *part, Mlq__V1__Metric *to, const struct msg_metric *from)
{
    CODEC_PUT(METRIC_FIELDS)
    memcpy(&to->value_bits, &from->value, sizeof to->value_bits);
}

static void artifact_get(struct codec_part *part, struct msg_artifact *to,
                         const Mlq__V1__Artifact *from)
{
    (void)part;
    CODEC_GET(ARTIFACT_FIELDS)
}

static void artifact_put(struct codec_part *part, Mlq__V1__Artifact *to,
                         const struct msg_artifact *from)
{
    CODEC_PUT(ARTIFACT_FIELDS)
}

static void report_item_get(struct codec_part *part, struct msg_report_item *to,
                            const Mlq__V1__ReportItem *from)
{
    CODEC_GET(REPORT_ITEM_FIELDS)
    if ((int)from->kind < (int)MSG_REPORT_STARTED || (int)from->kind > (int)MSG_REPORT_READY) {
        codec_bad(part, MLQ_ECORRUPT, "kind", "no such kind of report");
        return;
    }
    to->kind = (enum msg_report_kind)from->kind;
    to->port = codec_get_port(part, from->port);
    member_get(part, &to->member, from->member);
    CODEC_GET_LIST(metrics, metric_count, metric);
    CODEC_GET_LIST(artifacts, artifact_count, artifact);
}

static void report_item_put(struct codec_part *part, Mlq__V1__ReportItem *to,
                            const struct msg_report_item *from)
{
    CODEC_PUT(REPORT_ITEM_FIELDS)
    to->kind = (Mlq__V1__ReportKind)from->kind;
    to->port = from->port;
    to->member = member_new(part, &from->member);
    CODEC_PUT_LIST(metrics, metric_count, metric, Mlq__V1__Metric, mlq__v1__metric__init);
    CODEC_PUT_LIST(artifacts, artifact_count, artifact, Mlq__V1__Artifact,
                   mlq__v1__artifact__init);
}

static void input_get(struct codec_part *part, struct msg_input *to, const Mlq__V1__Input *from)
{
    (void)part;
    CODEC_GET(INPUT_FIELDS)
}

static void input_put(struct codec_part *part, Mlq__V1__Input *to, const struct msg_input *from)
{
    CODEC_PUT(INPUT_FIELDS)
}

static void env_get(struct codec_part *part, struct msg_env *to, const Mlq__V1__Env *from)
{
    (void)part;
    CODEC_GET(ENV_FIELDS)
}

static void env_put(struct codec_part *part, Mlq__V1__Env *to, const struct msg_env *from)
{
    CODEC_PUT(ENV_FIELDS)
}

static void assignment_get(struct codec_part *part, struct msg_assignment *to,
                           const Mlq__V1__Assignment *from)
{
    CODEC_GET(ASSIGNMENT_FIELDS)
    member_get(part, &to->member, from->member);
    codec_check_document(part, to->with, LIMIT_DOCUMENT_BYTES, "with");
    to->master_port = codec_get_port(part, from->master_port);
    to->argv = codec_get_texts(part, from->argv, from->n_argv);
    to->argc = from->n_argv;
    to->rank_addresses = codec_get_texts(part, from->rank_addresses, from->n_rank_addresses);
    to->rank_address_count = from->n_rank_addresses;
    CODEC_GET_LIST(env, env_count, env);
    CODEC_GET_LIST(inputs, input_count, input);
}

static void assignment_put(struct codec_part *part, Mlq__V1__Assignment *to,
                           const struct msg_assignment *from)
{
    CODEC_PUT(ASSIGNMENT_FIELDS)
    to->member = member_new(part, &from->member);
    codec_check_document(part, from->with, LIMIT_DOCUMENT_BYTES, "with");
    to->master_port = from->master_port;
    to->argv = codec_put_texts(part, from->argv, from->argc, "argv");
    to->n_argv = from->argc;
    to->rank_addresses =
        codec_put_texts(part, from->rank_addresses, from->rank_address_count, "rank_addresses");
    to->n_rank_addresses = from->rank_address_count;
    CODEC_PUT_LIST(env, env_count, env, Mlq__V1__Env, mlq__v1__env__init);
    CODEC_PUT_LIST(inputs, input_count, input, Mlq__V1__Input, mlq__v1__input__init);
}

static void kill_item_get(struct codec_part *part, struct msg_kill_item *to,
                          const Mlq__V1__KillItem *from)
{
    CODEC_GET(KILL_ITEM_FIELDS)
    member_get(part, &to->member, from->member);
}

static void kill_item_put(struct codec_part *part, Mlq__V1__KillItem *to,
                          const struct msg_kill_item *from)
{
    CODEC_PUT(KILL_ITEM_FIELDS)
    to->member = member_new(part, &from->member);
}

static void peer_get(struct codec_part *part, struct msg_peer *to, const Mlq__V1__Peer *from)
{
    CODEC_GET(PEER_FIELDS)
    to->port = codec_get_port(part, from->port);
}

static void peer_put(struct codec_part *part, Mlq__V1__Peer *to, const struct msg_peer *from)
{
    CODEC_PUT(PEER_FIELDS)
    to->port = from->port;
}

static void membership_get(struct codec_part *part, struct msg_membership *to,
                           const Mlq__V1__Membership *from)
{
    to->generation = from->generation;
    member_get(part, &to->member, from->member);
    CODEC_GET_LIST(peers, peer_count, peer);
}

static void membership_put(struct codec_part *part, Mlq__V1__Membership *to,
                           const struct msg_membership *from)
{
    to->generation = from->generation;
    to->member = member_new(part, &from->member);
    CODEC_PUT_LIST(peers, peer_count, peer, Mlq__V1__Peer, mlq__v1__peer__init);
}

static void gpu_get(struct codec_part *part, struct msg_gpu *to, const Mlq__V1__Gpu *from)
{
    (void)part;
    CODEC_GET(GPU_FIELDS)
}

static void gpu_put(struct codec_part *part, Mlq__V1__Gpu *to, const struct msg_gpu *from)
{
    CODEC_PUT(GPU_FIELDS)
}

/* ---- Bodies ---------------------------------------------------------------------------------- */

static void hello_get(struct codec_part *part, struct msg_hello *to, const Mlq__V1__Hello *from)
{
    CODEC_GET(HELLO_FIELDS)
    to->port_first = codec_get_port(part, from->port_first);
    to->port_count = codec_get_port(part, from->port_count);
    to->gpu_uuids = codec_get_texts(part, from->gpu_uuids, from->n_gpu_uuids);
    to->gpu_count = (uint32_t)from->n_gpu_uuids; /* bounded by LIMIT_REPEATED */
    CODEC_GET_LIST(gpus, gpu_detail_count, gpu);
    if (to->gpu_detail_count != 0 && to->gpu_detail_count != to->gpu_count) {
        codec_bad(part, MLQ_ECORRUPT, "gpus", "not as many as gpu_uuids");
    }
    CODEC_GET_LIST(claims, claim_count, member);
}

static Mlq__V1__Hello *hello_put(struct codec_part *part, const struct msg_hello *from)
{
    NEW(Mlq__V1__Hello, mlq__v1__hello__init);
    CODEC_PUT(HELLO_FIELDS)
    to->port_first = from->port_first;
    to->port_count = from->port_count;
    to->gpu_uuids = codec_put_texts(part, from->gpu_uuids, from->gpu_count, "gpu_uuids");
    to->n_gpu_uuids = from->gpu_count;
    CODEC_PUT_LIST(gpus, gpu_detail_count, gpu, Mlq__V1__Gpu, mlq__v1__gpu__init);
    CODEC_PUT_LIST(claims, claim_count, member, Mlq__V1__Member, mlq__v1__member__init);
    return to;
}

static void heartbeat_get(struct codec_part *part, struct msg_heartbeat *to,
                          const Mlq__V1__Heartbeat *from)
{
    CODEC_GET(HEARTBEAT_FIELDS)
    CODEC_GET_LIST(progress, progress_count, progress);
    CODEC_GET_LIST(flights, flight_count, flight);
}

static Mlq__V1__Heartbeat *heartbeat_put(struct codec_part *part, const struct msg_heartbeat *from)
{
    NEW(Mlq__V1__Heartbeat, mlq__v1__heartbeat__init);
    CODEC_PUT(HEARTBEAT_FIELDS)
    CODEC_PUT_LIST(progress, progress_count, progress, Mlq__V1__Progress, mlq__v1__progress__init);
    CODEC_PUT_LIST(flights, flight_count, flight, Mlq__V1__Flight, mlq__v1__flight__init);
    return to;
}

static void heartbeat_ack_get(struct msg_heartbeat_ack *to, const Mlq__V1__HeartbeatAck *from)
{
    CODEC_GET(HEARTBEAT_FIELDS)
}

static Mlq__V1__HeartbeatAck *heartbeat_ack_put(struct codec_part *part,
                                                const struct msg_heartbeat_ack *from)
{
    NEW(Mlq__V1__HeartbeatAck, mlq__v1__heartbeat_ack__init);
    CODEC_PUT(HEARTBEAT_FIELDS)
    return to;
}

static void report_get(struct codec_part *part, struct msg_report *to, const Mlq__V1__Report *from)
{
    CODEC_GET_LIST(items, count, report_item);
}

static Mlq__V1__Report *report_put(struct codec_part *part, const struct msg_report *from)
{
    NEW(Mlq__V1__Report, mlq__v1__report__init);
    CODEC_PUT_LIST(items, count, report_item, Mlq__V1__ReportItem, mlq__v1__report_item__init);
    return to;
}

static void log_data_get(struct msg_log_data *to, const Mlq__V1__LogData *from)
{
    CODEC_GET(LOG_DATA_FIELDS)
}

static Mlq__V1__LogData *log_data_put(struct codec_part *part, const struct msg_log_data *from)
{
    NEW(Mlq__V1__LogData, mlq__v1__log_data__init);
    CODEC_PUT(LOG_DATA_FIELDS)
    return to;
}

static void record_request_get(struct codec_part *part, struct msg_record_request *to,
                               const Mlq__V1__RecordRequest *from)
{
    to->request = from->request;
    member_get(part, &to->member, from->member);
}

static Mlq__V1__RecordRequest *record_request_put(struct codec_part *part,
                                                  const struct msg_record_request *from)
{
    NEW(Mlq__V1__RecordRequest, mlq__v1__record_request__init);
    to->request = from->request;
    to->member = member_new(part, &from->member);
    return to;
}

static Mlq__V1__Leaving *leaving_put(struct codec_part *part)
{
    NEW(Mlq__V1__Leaving, mlq__v1__leaving__init);
    return to;
}

static void welcome_get(struct msg_welcome *to, const Mlq__V1__Welcome *from)
{
    CODEC_GET(WELCOME_FIELDS)
}

static Mlq__V1__Welcome *welcome_put(struct codec_part *part, const struct msg_welcome *from)
{
    NEW(Mlq__V1__Welcome, mlq__v1__welcome__init);
    CODEC_PUT(WELCOME_FIELDS)
    return to;
}

static void assign_get(struct codec_part *part, struct msg_assign *to, const Mlq__V1__Assign *from)
{
    to->session = from->session;
    CODEC_GET_LIST(items, count, assignment);
}

static Mlq__V1__Assign *assign_put(struct codec_part *part, const struct msg_assign *from)
{
    NEW(Mlq__V1__Assign, mlq__v1__assign__init);
    to->session = from->session;
    CODEC_PUT_LIST(items, count, assignment, Mlq__V1__Assignment, mlq__v1__assignment__init);
    return to;
}

static void kill_get(struct codec_part *part, struct msg_kill *to, const Mlq__V1__Kill *from)
{
    CODEC_GET_LIST(items, count, kill_item);
}

static Mlq__V1__Kill *kill_put(struct codec_part *part, const struct msg_kill *from)
{
    NEW(Mlq__V1__Kill, mlq__v1__kill__init);
    CODEC_PUT_LIST(items, count, kill_item, Mlq__V1__KillItem, mlq__v1__kill_item__init);
    return to;
}

static void members_get(struct codec_part *part, struct msg_members *to,
                        const Mlq__V1__Members *from)
{
    CODEC_GET_LIST(items, count, member);
}

static Mlq__V1__Members *members_put(struct codec_part *part, const struct msg_members *from)
{
    NEW(Mlq__V1__Members, mlq__v1__members__init);
    CODEC_PUT_LIST(items, count, member, Mlq__V1__Member, mlq__v1__member__init);
    return to;
}

static void memberships_get(struct codec_part *part, struct msg_memberships *to,
                            const Mlq__V1__Memberships *from)
{
    CODEC_GET_LIST(items, count, membership);
}

static Mlq__V1__Memberships *memberships_put(struct codec_part *part,
                                             const struct msg_memberships *from)
{
    NEW(Mlq__V1__Memberships, mlq__v1__memberships__init);
    CODEC_PUT_LIST(items, count, membership, Mlq__V1__Membership, mlq__v1__membership__init);
    return to;
}

static void log_read_get(struct codec_part *part, struct msg_log_read *to,
                         const Mlq__V1__LogRead *from)
{
    CODEC_GET(LOG_READ_FIELDS)
    member_get(part, &to->member, from->member);
}

static Mlq__V1__LogRead *log_read_put(struct codec_part *part, const struct msg_log_read *from)
{
    NEW(Mlq__V1__LogRead, mlq__v1__log_read__init);
    CODEC_PUT(LOG_READ_FIELDS)
    to->member = member_new(part, &from->member);
    return to;
}

static void record_reply_get(struct codec_part *part, struct msg_record_reply *to,
                             const Mlq__V1__RecordReply *from)
{
    CODEC_GET(RECORD_REPLY_FIELDS)
    codec_check_document(part, to->json, LIMIT_FRAME_TO_PEER_BYTES, "json");
}

static Mlq__V1__RecordReply *record_reply_put(struct codec_part *part,
                                              const struct msg_record_reply *from)
{
    NEW(Mlq__V1__RecordReply, mlq__v1__record_reply__init);
    CODEC_PUT(RECORD_REPLY_FIELDS)
    codec_check_document(part, from->json, LIMIT_FRAME_TO_PEER_BYTES, "json");
    return to;
}

/* ---- The envelope's body --------------------------------------------------------------------- */

/* One case of codec_worker_put: the body's place in the envelope, and what fills it. */
#define PUT_BODY(BODY, place, value)                                                               \
    to->body_case = MLQ__V1__ENVELOPE__BODY_##BODY;                                                \
    to->place = value;                                                                             \
    return true

bool codec_worker_put(struct codec_part *part, Mlq__V1__Envelope *to, const struct msg *msg)
{
    switch (msg->kind) {
    case MSG_HELLO:
        PUT_BODY(HELLO, hello, hello_put(part, &msg->hello));
    case MSG_HEARTBEAT:
        PUT_BODY(HEARTBEAT, heartbeat, heartbeat_put(part, &msg->heartbeat));
    case MSG_REPORT:
        PUT_BODY(REPORT, report, report_put(part, &msg->report));
    case MSG_LOG_DATA:
        PUT_BODY(LOG_DATA, log_data, log_data_put(part, &msg->log_data));
    case MSG_RECORD_REQUEST:
        PUT_BODY(RECORD_REQUEST, record_request, record_request_put(part, &msg->record_request));
    case MSG_LEAVING:
        PUT_BODY(LEAVING, leaving, leaving_put(part));
    case MSG_WELCOME:
        PUT_BODY(WELCOME, welcome, welcome_put(part, &msg->welcome));
    case MSG_HEARTBEAT_ACK:
        PUT_BODY(HEARTBEAT_ACK, heartbeat_ack, heartbeat_ack_put(part, &msg->heartbeat_ack));
    case MSG_ASSIGN:
        PUT_BODY(ASSIGN, assign, assign_put(part, &msg->assign));
    case MSG_KILL:
        PUT_BODY(KILL, kill, kill_put(part, &msg->kill));
    case MSG_FENCED:
        PUT_BODY(FENCED, fenced, members_put(part, &msg->fenced));
    case MSG_ACK:
        PUT_BODY(ACK, ack, members_put(part, &msg->ack));
    case MSG_CHECKPOINT:
        PUT_BODY(CHECKPOINT, checkpoint, members_put(part, &msg->checkpoint));
    case MSG_MEMBERSHIPS:
        PUT_BODY(MEMBERSHIPS, memberships, memberships_put(part, &msg->memberships));
    case MSG_LOG_READ:
        PUT_BODY(LOG_READ, log_read, log_read_put(part, &msg->log_read));
    case MSG_RECORD_REPLY:
        PUT_BODY(RECORD_REPLY, record_reply, record_reply_put(part, &msg->record_reply));
    case MSG_NONE:
    case MSG_REFUSED:
    case MSG_REQUEST:
    case MSG_REPLY:
        break;
    }
    return false;
}

#define GET_BODY(KIND, call)                                                                       \
    to->kind = MSG_##KIND;                                                                         \
    call;                                                                                          \
    return true

bool codec_worker_get(struct codec_part *part, struct msg *to, const Mlq__V1__Envelope *from)
{
    switch ((int)from->body_case) {
    case MLQ__V1__ENVELOPE__BODY_HELLO:
        GET_BODY(HELLO, hello_get(part, &to->hello, from->hello));
    case MLQ__V1__ENVELOPE__BODY_HEARTBEAT:
        GET_BODY(HEARTBEAT, heartbeat_get(part, &to->heartbeat, from->heartbeat));
    case MLQ__V1__ENVELOPE__BODY_REPORT:
        GET_BODY(REPORT, report_get(part, &to->report, from->report));
    case MLQ__V1__ENVELOPE__BODY_LOG_DATA:
        GET_BODY(LOG_DATA, log_data_get(&to->log_data, from->log_data));
    case MLQ__V1__ENVELOPE__BODY_RECORD_REQUEST:
        GET_BODY(RECORD_REQUEST,
                 record_request_get(part, &to->record_request, from->record_request));
    case MLQ__V1__ENVELOPE__BODY_LEAVING:
        GET_BODY(LEAVING, (void)0);
    case MLQ__V1__ENVELOPE__BODY_WELCOME:
        GET_BODY(WELCOME, welcome_get(&to->welcome, from->welcome));
    case MLQ__V1__ENVELOPE__BODY_HEARTBEAT_ACK:
        GET_BODY(HEARTBEAT_ACK, heartbeat_ack_get(&to->heartbeat_ack, from->heartbeat_ack));
    case MLQ__V1__ENVELOPE__BODY_ASSIGN:
        GET_BODY(ASSIGN, assign_get(part, &to->assign, from->assign));
    case MLQ__V1__ENVELOPE__BODY_KILL:
        GET_BODY(KILL, kill_get(part, &to->kill, from->kill));
    case MLQ__V1__ENVELOPE__BODY_FENCED:
        GET_BODY(FENCED, members_get(part, &to->fenced, from->fenced));
    case MLQ__V1__ENVELOPE__BODY_ACK:
        GET_BODY(ACK, members_get(part, &to->ack, from->ack));
    case MLQ__V1__ENVELOPE__BODY_CHECKPOINT:
        GET_BODY(CHECKPOINT, members_get(part, &to->checkpoint, from->checkpoint));
    case MLQ__V1__ENVELOPE__BODY_MEMBERSHIPS:
        GET_BODY(MEMBERSHIPS, memberships_get(part, &to->memberships, from->memberships));
    case MLQ__V1__ENVELOPE__BODY_LOG_READ:
        GET_BODY(LOG_READ, log_read_get(part, &to->log_read, from->log_read));
    case MLQ__V1__ENVELOPE__BODY_RECORD_REPLY:
        GET_BODY(RECORD_REPLY, record_reply_get(part, &to->record_reply, from->record_reply));
    }
    return false;
}
