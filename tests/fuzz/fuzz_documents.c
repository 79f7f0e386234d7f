/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * JSON that tasks and earlier stages wrote: metrics.json, as the worker collects it, and all that a
 * gate and a report read. The input is {"metrics": ..., "record": ..., "history": ...}; a report
 * comes out of anything.
 */
#include <string.h>

#include "lib/artifact/io.h"
#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/collect.h"
#include "worker/op/gate_judge.h"
#include "worker/op/html.h"
#include "worker/op/jget.h"
#include "worker/op/report.h"

static void judge(const json_t *root)
{
    static const char require[] = "accuracy >= 0.5 and eval.accuracy < 2 and a == 0";
    struct gate_condition conditions[GATE_CONDITIONS_MAX];
    size_t count = 0;
    json_t *verdict = NULL;
    MLQ_ASSERT(gate_condition_parse(mlq_str_from(require), conditions, &count, NULL) == MLQ_OK);
    const struct gate_evidence evidence = {.files = {json_object_get(root, "metrics"), root},
                                           .file_count = 2,
                                           .record = json_object_get(root, "record"),
                                           .own_stage = "gate"};
    (void)gate_judge_all(conditions, count, &evidence, &verdict);
    char *text = json_dumps(verdict, 0);
    MLQ_ASSERT(text != NULL);
    mlq_free(text);
    json_decref(verdict);
}

static void report(const json_t *root)
{
    const struct report_inputs inputs = {.title = jget_text(root, "title"),
                                         .own_stage = "report",
                                         .record = json_object_get(root, "record"),
                                         .metrics = json_object_get(root, "metrics"),
                                         .history = json_object_get(root, "history"),
                                         .validation = json_object_get(root, "validation"),
                                         .profile = json_object_get(root, "profile"),
                                         .verdict = json_object_get(root, "verdict")};
    struct html page = {0};
    (void)report_write(&inputs, &page);
    html_fini(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *root = NULL;
    struct collect_job job = {.region = mlq_region_create()};
    collect_metrics(&job, fuzz_text(data, size));
    MLQ_ASSERT(job.metric_count <= COLLECT_METRICS_MAX);
    if (jget_bytes("fuzz", (const char *)data, size, &root, NULL) == MLQ_OK) {
        judge(root);
        report(root);
        json_decref(root);
    }
    mlq_region_destroy(&job.region);
    return 0;
}
