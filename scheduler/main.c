/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * mlq-scheduler: the one writer of the record. Begin here, then read shell.c (the turn), core/core.c
 * (core_step) and core/job.c (the transition table).
 */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
#include <uv.h>

#include "lib/base/panic.h"
#include "lib/sys/clock.h"
#include "lib/sys/log.h"
#include "scheduler/config.h"
#include "scheduler/shell.h"

struct program {
    struct shell *shell;
    uv_signal_t signals[2];
};

static void on_stopped(void *context)
{
    struct program *program = context;
    for (int i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&program->signals[i], NULL);
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct program *program = handle->data;
    log_info("scheduler.stop", "signal=%d", number);
    shell_stop(program->shell, on_stopped, program);
}

static void listen_to_signals(uv_loop_t *loop, struct program *program)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        MLQ_ASSERT(uv_signal_init(loop, &program->signals[i]) == 0);
        program->signals[i].data = program;
        MLQ_ASSERT(uv_signal_start(&program->signals[i], on_signal, numbers[i]) == 0);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    struct shell_options options;
    int done = config_parse(argc, argv, &options);
    if (done != 0) {
        return done - 1;
    }
    char host[128] = "";
    char holder[192];
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(holder, sizeof holder, "%s/%d/%lld", host, (int)getpid(), (long long)mlq_clock_wall_us());
    options.holder = holder;
    uv_loop_t loop;
    struct program program = {0};
    MLQ_ASSERT(uv_loop_init(&loop) == 0);
    listen_to_signals(&loop, &program);
    program.shell = shell_create(&loop, &options);
    shell_start(program.shell);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    shell_destroy(&program.shell);
    MLQ_ASSERT(uv_loop_close(&loop) == 0);
    return 0;
}
