/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The control socket: a client that sends these bytes and then hangs up its half, or all. The first
 * byte says into how many writes they are cut, and whether the client reads.
 */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "lib/loop/loop.h"
#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"
#include "worker/exec/control.h"
#include "worker/exec/unixsock.h"

static uint64_t asked;
static unsigned sum;

static int on_metric(void *context, struct mlq_str name, double value, int64_t step,
                     struct mlq_err *err)
{
    (void)context;
    MLQ_ASSERT(name.len > 0 && name.len <= 128);
    return isnan(value) || step < -5 ? mlq_fail(err, MLQ_EFULL, "refused: %.*s", MLQ_STR_ARG(name))
                                     : MLQ_OK;
}

static int on_progress(void *context, double fraction, struct mlq_str text, struct mlq_err *err)
{
    (void)context;
    (void)err;
    MLQ_ASSERT(fraction >= 0 && fraction <= 1 && mlq_str_is_utf8(text));
    return MLQ_OK;
}

static int on_checkpoint(void *context, struct mlq_str path, struct mlq_err *err)
{
    (void)context;
    for (size_t i = 0; i < path.len; i++) {
        sum += (unsigned char)path.ptr[i];
    }
    return path.len == 0 ? mlq_fail(err, MLQ_EINVAL, "no path") : MLQ_OK;
}

static int on_ready(void *context, uint16_t port, uint64_t fingerprint, uint64_t generation,
                    struct mlq_err *err)
{
    (void)context;
    (void)generation;
    (void)err;
    MLQ_ASSERT(port != 0 && fingerprint != 0);
    return MLQ_OK;
}

static bool on_must_stop(void *context)
{
    (void)context;
    return sum % 2 == 1;
}

static int on_record(void *context, uint64_t request, struct mlq_err *err)
{
    (void)context;
    asked = request;
    return sum % 5 == 4 ? mlq_fail(err, MLQ_ECONN, "away") : MLQ_OK;
}

static void turn(struct uv_loop_s *loop, struct control *control)
{
    for (int i = 0; i < 4; i++) {
        (void)uv_run(loop, UV_RUN_NOWAIT);
        if (asked != 0) {
            uint64_t request = asked;
            asked = 0;
            (void)control_answer(control, request, sum % 3 == 0 ? MLQ_OK : MLQ_ENOENT,
                                 MLQ_STR("{\"job\":1}"));
        }
    }
}

static void talk(struct uv_loop_s *loop, struct control *control, const char *path,
                 struct mlq_str bytes, unsigned how)
{
    char answers[4096];
    int fd = -1;
    MLQ_ASSERT(unixsock_connect(path, &fd, NULL) == MLQ_OK);
    size_t piece = bytes.len / (1 + how % 4) + 1;
    for (size_t at = 0; at < bytes.len;) {
        size_t len = bytes.len - at < piece ? bytes.len - at : piece;
        ssize_t sent = send(fd, bytes.ptr + at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        turn(loop, control);
        if (sent <= 0) {
            break; /* hung up on */
        }
        at += (size_t)sent;
        while (how % 8 < 4 && recv(fd, answers, sizeof answers, MSG_DONTWAIT) > 0) {
        }
    }
    (void)shutdown(fd, how % 16 < 8 ? SHUT_WR : SHUT_RDWR);
    turn(loop, control);
    (void)close(fd);
    turn(loop, control);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct uv_loop_s *loop;
    static struct control *control;
    static char *path;
    if (loop == NULL) {
        const struct control_callbacks callbacks = {.metric = on_metric,
                                                    .progress = on_progress,
                                                    .checkpoint = on_checkpoint,
                                                    .must_stop = on_must_stop,
                                                    .ready = on_ready,
                                                    .record = on_record};
        (void)signal(SIGPIPE, SIG_IGN); /* as in the worker */
        path = mlq_format("%s/control", fuzz_folder());
        MLQ_ASSERT(loop_create(&loop, NULL) == MLQ_OK);
        MLQ_ASSERT(control_create(loop, path, &callbacks, &control, NULL) == MLQ_OK);
    }
    asked = 0;
    sum = 0;
    if (size > 0) {
        talk(loop, control, path, fuzz_text(data + 1, size - 1), data[0]);
    }
    return 0;
}
