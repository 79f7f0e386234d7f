/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Log lines on stderr in logfmt, a stable event name first:
 *     2026-11-23T09:00:00.123Z info worker.lost worker=3 attempts=2
 * No secrets and no payloads. The core never logs.
 */
#ifndef MLQ_SYS_LOG_H
#define MLQ_SYS_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum mlq_log_level { MLQ_LOG_ERROR, MLQ_LOG_WARN, MLQ_LOG_INFO, MLQ_LOG_DEBUG };

/* What is above `level` is not printed. The default is INFO. */
void mlq_log_set_level(enum mlq_log_level level);

/* `event` is a dotted name; `fmt` gives "key=value key=\"quoted value\"" pairs. */
void mlq_log(enum mlq_log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* For what strangers can cause as often as they like: the first time is said at once, the others
 * once a minute with their number. */
struct mlq_log_pace {
    int64_t said_ns; /* 0: never */
    uint64_t held;   /* since it was last said */
};

/* One more time; true: say it now, *times is how often it was since it was last said. */
bool mlq_log_paced(struct mlq_log_pace *pace, int64_t now_ns, uint64_t *times);

/* The same without one more time: for what is left over when it has stopped. */
bool mlq_log_pace_rest(struct mlq_log_pace *pace, int64_t now_ns, uint64_t *times);

#define log_error(event, ...) mlq_log(MLQ_LOG_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...)  mlq_log(MLQ_LOG_WARN, event, __VA_ARGS__)
#define log_info(event, ...)  mlq_log(MLQ_LOG_INFO, event, __VA_ARGS__)
#define log_debug(event, ...) mlq_log(MLQ_LOG_DEBUG, event, __VA_ARGS__)

#endif
