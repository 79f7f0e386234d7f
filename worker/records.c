/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Tasks ask for the record of their job, and only the scheduler has it. While one waits, a short
 * timer looks which questions are to be asked again (questions.h); otherwise nothing does.
 */
#include "lib/sys/clock.h"
#include "worker/worker.h"

#define LOOK_PERIOD_NS (250 * MLQ_NS_PER_MS)

/* The task may have hung up since, or ended. */
static struct control *control_of(struct worker *worker, const struct question *question)
{
    const struct attempt *attempt = attempt_find(worker, question->attempt, question->rank);
    return attempt == NULL ? NULL : attempt->control;
}

static bool is_waited_for(struct worker *worker, const struct question *question)
{
    const struct control *control = control_of(worker, question);
    return control != NULL && control_waits(control, question->control_request);
}

static void tell(struct worker *worker, const struct question *question, int code,
                 struct mlq_str json)
{
    struct control *control = control_of(worker, question);
    if (control != NULL) {
        (void)control_answer(control, question->control_request, code, json);
    }
}

static bool ask(struct worker *worker, const struct question *question)
{
    struct msg msg = {
        .kind = MSG_RECORD_REQUEST,
        .record_request = {.request = question->request,
                           .member = {.attempt = question->attempt, .rank = question->rank}},
    };
    return outbound_send(worker, &msg);
}

/* What cannot be sent now is due again with the next welcome. */
static void ask_due(struct worker *worker, int64_t now_ns)
{
    const struct question *due = NULL;
    while (worker->agent.link == AGENT_LINK_WELCOMED &&
           (due = questions_take_due(&worker->questions, now_ns)) != NULL && ask(worker, due)) {
    }
}

static void drop_unwaited(struct worker *worker)
{
    for (size_t i = 0; i < QUESTIONS_MAX; i++) {
        struct question *item = &worker->questions.items[i];
        if (item->request != 0 && !is_waited_for(worker, item)) {
            *item = (struct question){0};
        }
    }
}

void records_serve(void *context)
{
    struct worker *worker = context;
    int64_t now_ns = mlq_clock_boot_ns();
    struct question expired;
    drop_unwaited(worker);
    while (questions_take_expired(&worker->questions, now_ns, &expired)) {
        tell(worker, &expired, MLQ_ETIMEOUT, (struct mlq_str){0});
    }
    ask_due(worker, now_ns);
    if (questions_is_empty(&worker->questions)) {
        loop_timer_clear(worker->records_timer);
    }
}

int records_ask(struct attempt *attempt, uint64_t control_request, struct mlq_err *err)
{
    struct worker *worker = attempt->worker;
    int64_t now_ns = mlq_clock_boot_ns();
    drop_unwaited(worker); /* they would keep the room for a minute */
    if (!questions_add(&worker->questions, attempt->attempt, attempt->rank, control_request,
                       now_ns)) {
        return mlq_fail(err, MLQ_EFULL,
                        "%d tasks of this worker wait for a record: try again later",
                        QUESTIONS_MAX);
    }
    ask_due(worker, now_ns);
    if (!loop_timer_is_set(worker->records_timer)) {
        loop_timer_set(worker->records_timer, LOOK_PERIOD_NS, LOOK_PERIOD_NS);
    }
    return MLQ_OK;
}

void records_answered(struct worker *worker, const struct msg_record_reply *reply)
{
    struct question settled;
    if (questions_settle(&worker->questions, reply->request, reply->code, mlq_clock_boot_ns(),
                         &settled)) {
        tell(worker, &settled, reply->code, reply->json);
    }
}

void records_welcomed(struct worker *worker)
{
    int64_t now_ns = mlq_clock_boot_ns();
    questions_renew(&worker->questions, now_ns);
    ask_due(worker, now_ns);
}
