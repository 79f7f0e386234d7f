/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The cluster as JSON, from memory.
 */
#include <jansson.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/mem.h"
#include "scheduler/shell_state.h"

static struct mlq_str finish(json_t *document, struct mlq_region *region)
{
    MLQ_ASSERT(document != NULL);
    char *text = json_dumps(document, JSON_COMPACT);
    json_decref(document);
    struct mlq_str copy = mlq_region_copy(region, mlq_str_from(text));
    mlq_free(text);
    return copy;
}

struct mlq_str status_cluster(struct shell *shell, struct mlq_region *region)
{
    struct core_counts counts = core_count(shell->core);
    struct net_refusals refused = net_server_refusals(shell->server);
    char started[MLQ_CLOCK_TEXT_BYTES];
    char now[MLQ_CLOCK_TEXT_BYTES];
    mlq_clock_format_wall(shell->serving_us, started);
    mlq_clock_format_wall(mlq_clock_wall_us(), now);
    return finish(json_pack("{s:s, s:{s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I, s:I, s:I}}}", "schema",
                            "mlq/v1", "cluster", "name", shell->options.cluster, "endpoint",
                            net_server_endpoint(shell->server), "leader", shell->options.holder, "epoch",
                            (json_int_t)shell->epoch, "started", started, "now", now,
                            "jobs", (json_int_t)counts.jobs, "stages_ready",
                            (json_int_t)counts.stages_ready, "running", (json_int_t)counts.members, "workers",
                            (json_int_t)counts.workers, "commits", (json_int_t)shell->commits, "refused", "handshakes",
                            (json_int_t)refused.handshakes, "not_enrolled",
                            (json_int_t)refused.not_enrolled, "malformed", (json_int_t)refused.malformed, "version",
                            (json_int_t)refused.version, "wrong_role", (json_int_t)refused.wrong_role, "untrue",
                            (json_int_t)shell->untrue),
                  region);
}

static json_t *vector(const struct rvec *r)
{
    return json_pack("{s:f, s:I, s:I}", "cpus", (double)r->cpu_milli / 1000, "memory", (json_int_t)r->mem_bytes, "gpus",
                     (json_int_t)r->gpus);
}

static json_t *gpus_of(const struct roster_worker *worker)
{
    json_t *gpus = json_array();
    for (uint32_t i = 0; i < worker->gpu_count; i++) {
        const struct roster_gpu *gpu = &worker->gpus[i];
        (void)json_array_append_new(gpus, json_pack("{s:s, s:s, s:I}", "uuid", gpu->uuid, "model", gpu->model,
                                                    "memory", (json_int_t)gpu->mem_bytes));
    }
    return gpus;
}

struct mlq_str status_nodes(struct shell *shell, struct mlq_region *region)
{
    json_t *nodes = json_array();
    int64_t now = shell_now_ns();
    for (size_t i = 0; i < roster_count(shell->roster); i++) {
        const struct roster_worker *worker = roster_get(shell->roster, i);
        struct core_worker_view view = {0};
        bool known = core_worker(shell->core, worker->id, &view) && view.known;
        json_t *node = json_pack("{s:I, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:I}", "id", (json_int_t)worker->id, "name",
                                 worker->name, "state", known ? "up" : "down", "host",
                                 worker->host == NULL ? "" : worker->host, "software",
                                 worker->software == NULL ? "" : worker->software, "capacity", vector(&view.capacity),
                                 "free", vector(&view.free), "gpus", gpus_of(worker), "running", (json_int_t)view.members);
        MLQ_ASSERT(node != NULL);
        if (worker->heard_ns != 0) {
            (void)json_object_set_new(node, "heard_s", json_real((double)(now - worker->heard_ns) / 1e9));
        }
        (void)json_array_append_new(nodes, node);
    }
    return finish(json_pack("{s:s, s:o}", "schema", "mlq/v1", "nodes", nodes), region);
}
