/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What the record may not say twice: that an attempt's rank was assigned, started or ended, and
 * that a task of one rank succeeded (in one round). The ledger follows all that a leader sends to
 * the record, and says so before anything is sent.
 *
 * Why that is as safe as a unique index: only a leader writes (each transaction checks its epoch),
 * and a leader's ledger answers for a job only if it has seen all that the record says of it: the
 * job was submitted in this epoch, or all its facts were loaded in it, after the takeover had shut
 * out the leader before. Of any other job it says LEDGER_ASK, and the server is asked
 * (mlq.expect_new).
 *
 * Attempts are numbered upwards, so one that is not above all that a job was assigned and is not
 * open was there before: what has ended need not be kept. A job takes a bit for each task that
 * succeeded.
 */
#ifndef MLQ_SCHEDULER_STORE_LEDGER_H
#define MLQ_SCHEDULER_STORE_LEDGER_H

#include "scheduler/store/store.h"

struct ledger;

enum ledger_verdict {
    LEDGER_NEW,
    LEDGER_REPEATED,
    LEDGER_ASK, /* the job is not known whole; it is not learnt any more in this epoch */
};

MLQ_OWNED_RETURN struct ledger *ledger_create(void);
void ledger_destroy(struct ledger **ledger);
void ledger_clear(struct ledger *ledger); /* another epoch */

/* Sent: a job's row; then each fact, in order. `round` is the job's, when it is known. */
void ledger_put_job(struct ledger *ledger, const struct store_job *job);
enum ledger_verdict ledger_put_fact(struct ledger *ledger, const struct core_fact *fact,
                                    uint32_t *round);

/* Loaded: jobs that are not known yet are learnt from their rows and facts, all of them; then
 * loaded says whether the load was whole. */
void ledger_load_job(struct ledger *ledger, const struct store_job *job);
void ledger_load_fact(struct ledger *ledger, const struct core_fact *fact);
void ledger_loaded(struct ledger *ledger, bool is_whole);

/* Nothing more comes of a job that has ended, until it is loaded again. */
void ledger_forget_ended(struct ledger *ledger);

#endif
