/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * What `mlq doctor` and `mlq up --check` look at: each check says what it found and, where that is
 * wrong, the command that mends it. Nothing is changed and nothing is started but programs that
 * tell.
 */
#ifndef MLQ_CLI_DOCTOR_H
#define MLQ_CLI_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/cli/home.h"
#include "lib/sys/region.h"

enum doctor_state {
    DOCTOR_OK,
    DOCTOR_NOTE,  /* good to know: it works, with less */
    DOCTOR_WRONG, /* exit code 1 */
};

struct doctor_check {
    enum doctor_state state;
    const char *name;
    const char *text;
    const char *mend; /* a shell command; NULL: none is known */
};

struct doctor {
    struct mlq_region *region; /* holds the texts */
    const char *bin_dir;       /* where mlq's other programs lie */
    struct doctor_check *checks;
    size_t count;
    size_t room;
};

void doctor_add(struct doctor *doctor, enum doctor_state state, const char *name, const char *mend,
                const char *fmt, ...) __attribute__((format(printf, 5, 6)));

size_t doctor_count(const struct doctor *doctor, enum doctor_state state);

/* A table, and below it how to mend; or one document. */
void doctor_print(const struct doctor *doctor, bool header);
void doctor_print_json(const struct doctor *doctor);

/* ---- The checks ---- */

/* mlq's programs, the libraries, PostgreSQL's programs. */
void doctor_programs(struct doctor *doctor);

/* The folder, its disk, its keys, its port and its processes; true when all processes run. `home`
 * is NULL where no cluster is yet. */
bool doctor_home(struct doctor *doctor, const char *dir, const struct home *home);

/* The settings of the home's database, whether it runs or not. */
void doctor_database(struct doctor *doctor, const struct home *home);

/* Clock, limits of tasks, GPUs. */
void doctor_machine(struct doctor *doctor);

/* Room on the disk of a folder, and whether one may write there. */
void doctor_disk(struct doctor *doctor, const char *name, const char *path);

/* The wall clock of another, told at `now_us`, against ours. */
void doctor_machine_clock_of(struct doctor *doctor, const char *whose, int64_t theirs_us,
                             int64_t ours_us);

/* A key pair's file: mode and content. False: it cannot be used. */
struct net_keypair;
bool doctor_key(struct doctor *doctor, const char *path, struct net_keypair *pair, const char *mend);

#endif
