/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * One message of each kind with every field at an extreme, none at its default: what the tests of
 * the codec send around.
 */
#ifndef MLQ_TESTS_UNIT_NET_SAMPLES_H
#define MLQ_TESTS_UNIT_NET_SAMPLES_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lib/base/ownership.h"
#include "lib/net/msg.h"

#define SAMPLE_KINDS (MSG_REPLY + 1) /* kinds 1 .. SAMPLE_KINDS - 1 */

static const struct msg_member sample_members[] = {
    {UINT64_MAX, UINT32_MAX},
    {1, 0},
    {0, 7},
    {0, 0},
};

static inline struct msg sample_hello(void)
{
    static const struct mlq_str gpus[] = {
        {"GPU-5e3c9c2f-0000-1111-2222-333344445555", 40},
        {"", 0},
    };
    static const struct msg_gpu details[] = {
        {{"NVIDIA H200", 11}, INT64_MAX},
        {{"", 0}, 0},
    };
    return (struct msg){.kind = MSG_HELLO,
                        .hello = {.session = UINT64_MAX,
                                  .software = MLQ_STR("mlq 0.1.0"),
                                  .host = MLQ_STR("b\xc3\xbc"
                                                  "ro \xf0\x9f\x92\xbb"),
                                  .cpu_milli = INT64_MAX,
                                  .mem_bytes = INT64_MIN,
                                  .gpu_count = 2,
                                  .gpu_uuids = gpus,
                                  .gpus = details,
                                  .gpu_detail_count = 2,
                                  .address = MLQ_STR("fe80::1"),
                                  .port_first = 65535,
                                  .port_count = 65535,
                                  .claims = sample_members,
                                  .claim_count = MLQ_COUNT_OF(sample_members)}};
}

static inline struct msg sample_heartbeat(void)
{
    static const struct msg_progress progress[] = {
        {{UINT64_MAX, 1}, -1.0, {"epoch 3/20", 10}},
        {{2, 2}, 1.0, {"", 0}},
    };
    static const struct msg_flight flights[] = {
        {{UINT64_MAX, UINT32_MAX}, {"exchange", 8}, true, UINT64_MAX, UINT64_MAX, INT64_MAX},
        {{1, 0}, {"", 0}, false, 0, 0, INT64_MIN},
    };
    return (struct msg){
        .kind = MSG_HEARTBEAT,
        .heartbeat = {.session = 3, .sent_ns = INT64_MIN, .progress = progress,
                      .progress_count = MLQ_COUNT_OF(progress), .flights = flights,
                      .flight_count = MLQ_COUNT_OF(flights)}};
}

static inline struct msg sample_report(void)
{
    static struct msg_metric metrics[5];
    metrics[0] = (struct msg_metric){MLQ_STR("val_loss"), INT64_MIN, (double)NAN, INT64_MAX};
    metrics[1] = (struct msg_metric){MLQ_STR("loss"), INT64_MAX, -(double)INFINITY, INT64_MIN};
    metrics[2] = (struct msg_metric){MLQ_STR("a"), -1, -0.0, -1};
    metrics[3] = (struct msg_metric){MLQ_STR("b"), 1, 5e-324, 1};
    metrics[4] = (struct msg_metric){MLQ_STR("c"), 0, 0.1, 0};
    static const struct msg_artifact artifacts[] = {
        {{"model.safetensors", 17}, {"sha256:00", 9}, UINT64_MAX, true},
        {{".log", 4}, {"", 0}, 0, false},
    };
    static struct msg_report_item items[3];
    items[0] = (struct msg_report_item){.kind = MSG_REPORT_ENDED,
                                        .member = {UINT64_MAX, UINT32_MAX},
                                        .cause = UINT32_MAX,
                                        .exit_code = INT32_MIN,
                                        .signal = INT32_MAX,
                                        .detail = MLQ_STR("killed by the kernel"),
                                        .metrics = metrics,
                                        .metric_count = MLQ_COUNT_OF(metrics),
                                        .artifacts = artifacts,
                                        .artifact_count = MLQ_COUNT_OF(artifacts),
                                        .at_us = INT64_MAX,
                                        .port = 65535,
                                        .fingerprint = UINT64_MAX,
                                        .generation = UINT64_MAX};
    items[1] = (struct msg_report_item){.kind = MSG_REPORT_STARTED, .exit_code = -1};
    items[2] = (struct msg_report_item){.kind = MSG_REPORT_NOTE, .member = {1, 1}, .signal = -9};
    return (struct msg){.kind = MSG_REPORT,
                        .report = {.items = items, .count = MLQ_COUNT_OF(items)}};
}

static inline struct msg sample_assign(void)
{
    static const struct mlq_str argv[] = {{"python3", 7}, {"", 0}, {"--x=\n\t\"", 7}};
    static const struct msg_env env[] = {{{"PATH", 4}, {"/bin:/usr/bin", 13}}, {{"E", 1}, {"", 0}}};
    static const struct msg_input inputs[] = {
        {{"data", 4}, {"test.safetensors", 16}, {"sha256:11", 9}, true, true},
        {{"x", 1}, {"y", 1}, {"z", 1}, false, false},
    };
    static const struct mlq_str addresses[] = {{"10.0.0.1:29500", 14}, {"[::1]:1", 7}};
    static struct msg_assignment items[2];
    items[0] = (struct msg_assignment){.member = {UINT64_MAX, UINT32_MAX},
                                       .job = UINT64_MAX,
                                       .stage = UINT32_MAX,
                                       .index = UINT32_MAX,
                                       .array_count = UINT32_MAX,
                                       .ranks = UINT32_MAX,
                                       .job_name = MLQ_STR("digits"),
                                       .stage_name = MLQ_STR("train"),
                                       .uses = MLQ_STR("train.native"),
                                       .argv = argv,
                                       .argc = MLQ_COUNT_OF(argv),
                                       .env = env,
                                       .env_count = MLQ_COUNT_OF(env),
                                       .with = MLQ_STR("{\"epochs\":20}"),
                                       .inputs = inputs,
                                       .input_count = MLQ_COUNT_OF(inputs),
                                       .code = MLQ_STR("sha256:22"),
                                       .cpu_milli = INT64_MAX,
                                       .mem_bytes = INT64_MIN,
                                       .gpu_mask = UINT64_MAX,
                                       .timeout_ns = INT64_MAX,
                                       .grace_ns = INT64_MIN,
                                       .deadline_wall_us = INT64_MAX,
                                       .master_addr = MLQ_STR("10.0.0.1"),
                                       .master_port = 65535,
                                       .local_rank = UINT32_MAX,
                                       .local_ranks = UINT32_MAX,
                                       .group_rank = UINT32_MAX,
                                       .group_count = UINT32_MAX,
                                       .restart_count = UINT32_MAX,
                                       .restart_limit = UINT32_MAX,
                                       .rank_addresses = addresses,
                                       .rank_address_count = MLQ_COUNT_OF(addresses),
                                       .ranks_min = UINT32_MAX,
                                       .ranks_max = UINT32_MAX};
    items[1] = (struct msg_assignment){.member = {9, 0}};
    return (struct msg){.kind = MSG_ASSIGN,
                        .assign = {.session = UINT64_MAX, .items = items, .count = 2}};
}

static inline struct msg sample_client(enum msg_kind kind)
{
    if (kind == MSG_REQUEST) {
        return (struct msg){.kind = kind,
                            .request = {.id = UINT64_MAX,
                                        .op = MSG_OP_CHECKPOINT,
                                        .key = MLQ_STR("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                                        .spec = MLQ_STR("apiVersion: mlq/v1\n"),
                                        .job = UINT64_MAX,
                                        .selector = MLQ_STR("12-40"),
                                        .stage = MLQ_STR("train"),
                                        .name = MLQ_STR("accuracy"),
                                        .text = MLQ_STR("no longer wanted"),
                                        .index = UINT32_MAX,
                                        .rank = UINT32_MAX,
                                        .limit = UINT32_MAX,
                                        .bytes_max = UINT32_MAX,
                                        .before = UINT64_MAX,
                                        .offset = UINT64_MAX,
                                        .version = UINT64_MAX,
                                        .wait_ns = INT64_MIN,
                                        .feasible_only = true}};
    }
    if (kind == MSG_REPLY) {
        return (struct msg){.kind = kind,
                            .reply = {.id = UINT64_MAX,
                                      .code = INT32_MIN,
                                      .text = MLQ_STR("it is so"),
                                      .blob = MLQ_STR("\0\xff not text"),
                                      .job = UINT64_MAX,
                                      .offset = UINT64_MAX,
                                      .end = true}};
    }
    return (struct msg){.kind = MSG_REFUSED,
                        .refused = {.code = INT32_MIN,
                                    .text = MLQ_STR("no"),
                                    .version_theirs = UINT32_MAX,
                                    .version_ours = UINT32_MAX}};
}

static inline struct msg sample_small(enum msg_kind kind)
{
    static const struct msg_kill_item kills[] = {{{UINT64_MAX, 3}, UINT32_MAX, INT64_MAX},
                                                 {{1, 1}, 1, INT64_MIN}};
    static const struct msg_peer peers[] = {{UINT32_MAX, {"10.0.0.1", 8}, 65535}, {0, {"", 0}, 0}};
    static const struct msg_membership memberships[] = {
        {{UINT64_MAX, UINT32_MAX}, UINT64_MAX, peers, MLQ_COUNT_OF(peers)}, {{1, 0}, 1, NULL, 0}};
    struct msg msg = {.kind = kind};
    if (kind == MSG_MEMBERSHIPS) {
        msg.memberships = (struct msg_memberships){memberships, MLQ_COUNT_OF(memberships)};
    } else if (kind == MSG_LOG_DATA) {
        msg.log_data = (struct msg_log_data){UINT64_MAX, -4, UINT64_MAX,
                                             MLQ_STR("\0\xff\xfe raw \0"), true};
    } else if (kind == MSG_RECORD_REQUEST) {
        msg.record_request = (struct msg_record_request){UINT64_MAX, {UINT64_MAX, UINT32_MAX}};
    } else if (kind == MSG_WELCOME) {
        msg.welcome = (struct msg_welcome){MLQ_STR("c0ffee"), UINT64_MAX, UINT32_MAX, INT64_MAX,
                                           INT64_MIN};
    } else if (kind == MSG_HEARTBEAT_ACK) {
        msg.heartbeat_ack = (struct msg_heartbeat_ack){UINT64_MAX, INT64_MIN};
    } else if (kind == MSG_KILL) {
        msg.kill = (struct msg_kill){kills, MLQ_COUNT_OF(kills)};
    } else if (kind == MSG_FENCED || kind == MSG_ACK || kind == MSG_CHECKPOINT) {
        msg.ack = (struct msg_members){sample_members, MLQ_COUNT_OF(sample_members)};
    } else if (kind == MSG_LOG_READ) {
        msg.log_read = (struct msg_log_read){UINT64_MAX, {7, 7}, UINT64_MAX, UINT32_MAX, INT64_MIN};
    } else if (kind == MSG_RECORD_REPLY) {
        msg.record_reply = (struct msg_record_reply){UINT64_MAX, INT32_MAX, MLQ_STR("{}")};
    }
    return msg;
}

static inline struct msg sample_of(enum msg_kind kind)
{
    struct msg msg = kind == MSG_HELLO       ? sample_hello()
                     : kind == MSG_HEARTBEAT ? sample_heartbeat()
                     : kind == MSG_REPORT    ? sample_report()
                     : kind == MSG_ASSIGN    ? sample_assign()
                     : kind == MSG_REFUSED || kind == MSG_REQUEST || kind == MSG_REPLY
                         ? sample_client(kind)
                         : sample_small(kind);
    msg.epoch = UINT32_MAX;
    return msg;
}

#endif
