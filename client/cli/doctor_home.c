/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The home of a cluster: folder, disk, keys, port, processes.
 */
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include "client/cli/daemon.h"
#include "client/cli/doctor.h"
#include "client/cli/port.h"
#include "lib/net/enrolled.h"
#include "lib/net/net.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

/* ---- Keys ---- */

static void check_enrolled(struct doctor *doctor, const struct home *home, const struct enrolled *enrolled,
                           enum net_role role, const char *name)
{
    struct net_keypair pair;
    const char *role_text = role == NET_ROLE_CLIENT ? "client" : "worker";
    char *path = mlq_format("%s/keys/%s.key", home->dir, name);
    const char *mend = mlq_region_format(
        doctor->region, "sed -i '/^%s %s /d' %s/keys/enrolled; rm -f %s; mlq up --home %s", role_text, name, home->dir,
        path, home->dir);
    if (doctor_key(doctor, path, &pair, mend)) {
        const struct enrolled_entry *entry = enrolled_find(enrolled, pair.public_key);
        bool good = entry != NULL && entry->role == role && strcmp(entry->name, name) == 0;
        doctor_add(doctor, good ? DOCTOR_OK : DOCTOR_WRONG, mlq_region_format(doctor->region, "key %s.key", name), mend,
                   good ? "mode 0600, enrolled as %s %s" : "it is not enrolled as %s %s", role_text, name);
    }
    explicit_bzero(&pair, sizeof pair);
    mlq_free(path);
}

static void check_keys(struct doctor *doctor, const struct home *home)
{
    struct mlq_err err = MLQ_ERR_INIT;
    struct net_keypair server;
    struct enrolled *enrolled = NULL;
    const char *up = mlq_region_format(doctor->region, "mlq up --home %s", home->dir);
    char *path = home_file(home, "keys/server.key");
    if (doctor_key(doctor, path, &server, up)) {
        bool same = strcmp(server.public_key, home->server_key) == 0;
        doctor_add(doctor, same ? DOCTOR_OK : DOCTOR_WRONG, "key server.key", up,
                   same ? "mode 0600" : "it is not the key that cluster.json names: clients would refuse this scheduler");
    }
    explicit_bzero(&server, sizeof server);
    mlq_free(path);
    path = home_file(home, "keys/enrolled");
    if (enrolled_create(path, &enrolled, &err) == MLQ_OK) {
        check_enrolled(doctor, home, enrolled, NET_ROLE_CLIENT, "client");
        for (int i = 1; i <= home->workers; i++) {
            char name[16];
            (void)snprintf(name, sizeof name, "w%d", i);
            check_enrolled(doctor, home, enrolled, NET_ROLE_WORKER, name);
        }
        enrolled_destroy(&enrolled);
    } else {
        doctor_add(doctor, DOCTOR_WRONG, "enrolled keys", up, "%s", err.text);
    }
    mlq_free(path);
}

/* ---- Port and processes ---- */

static void check_port(struct doctor *doctor, const struct home *home)
{
    uint16_t port = port_of(home->endpoint);
    const char *up = mlq_region_format(doctor->region, "mlq up --home %s   # takes another port", home->dir);
    if (port == 0) {
        doctor_add(doctor, DOCTOR_WRONG, "port", NULL, "cluster.json has the endpoint '%s', not tcp://127.0.0.1:PORT",
                   home->endpoint);
    } else if (daemon_pid(home, "scheduler") != 0) {
        doctor_add(doctor, DOCTOR_OK, "port", NULL, "%u, of the scheduler", port);
    } else if (port_try(port) < 0) {
        doctor_add(doctor, DOCTOR_WRONG, "port", up, "%u is taken by another program: ss -ltnp 'sport = :%u' tells which",
                   port, port);
    } else {
        doctor_add(doctor, DOCTOR_OK, "port", NULL, "%u, free", port);
    }
}

struct process {
    const char *name;
    pid_t pid;
    bool was_there; /* recorded as running: it did not end by mlq down */
};

static struct process process_of(const struct home *home, const char *name)
{
    char *record = mlq_format("%s/pids/%s", home->dir, name);
    struct process process = {.name = name, .pid = daemon_pid(home, name), .was_there = mlq_fs_exists(record)};
    mlq_free(record);
    return process;
}

/* A cluster that is down is no mistake; one of which a part is missing is. */
static bool check_processes(struct doctor *doctor, const struct home *home)
{
    const char *up = mlq_region_format(doctor->region, "mlq up --home %s", home->dir);
    size_t count = 2 + (size_t)home->workers;
    struct process *all = mlq_region_array(doctor->region, count, sizeof *all);
    size_t running = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = i == 0   ? "postgres"
                           : i == 1 ? "scheduler"
                                    : mlq_region_format(doctor->region, "w%zu", i - 1);
        all[i] = process_of(home, name);
        running += all[i].pid != 0 ? 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
        const struct process *process = &all[i];
        const char *name = mlq_region_format(doctor->region, "process %s", process->name);
        if (process->pid != 0) {
            doctor_add(doctor, DOCTOR_OK, name, NULL, "pid %d", (int)process->pid);
        } else if (process->was_there) {
            doctor_add(doctor, DOCTOR_WRONG, name, up, "died (killed, or the machine went down): %s/logs/%s.log",
                       home->dir, process->name);
        } else {
            doctor_add(doctor, running > 0 ? DOCTOR_WRONG : DOCTOR_NOTE, name, up, "not running");
        }
    }
    return running == count;
}

bool doctor_home(struct doctor *doctor, const char *dir, const struct home *home)
{
    if (home == NULL) {
        doctor_disk(doctor, "home", dir);
        doctor_add(doctor, DOCTOR_NOTE, "cluster", mlq_region_format(doctor->region, "mlq up --home %s", dir),
                   "none in %s yet", dir);
        return false;
    }
    doctor_disk(doctor, "home", home->dir);
    doctor_disk(doctor, "store", home->store);
    check_keys(doctor, home);
    check_port(doctor, home);
    return check_processes(doctor, home);
}
