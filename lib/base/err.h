/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Errors of the outside world: a file, a peer, a database, a user's input.
 *
 * A function that can meet one returns 0 or a negative `enum mlq_code`, and takes a
 * `struct mlq_err *err` last. `err` lives on the caller's stack and may be NULL. Broken code is not
 * an error: that is MLQ_ASSERT (panic.h). A refusal by the core is not one either: it is data in a
 * reply.
 */
#ifndef MLQ_BASE_ERR_H
#define MLQ_BASE_ERR_H

#define MLQ_CODES(X)                                                                               \
    X(OK, 0, "ok")                                                                                 \
    X(EINVAL, -1, "invalid input")                                                                 \
    X(ENOENT, -2, "not found")                                                                     \
    X(EEXIST, -3, "already exists")                                                                \
    X(EFULL, -4, "limit reached")                                                                  \
    X(EIO, -5, "input or output failed")                                                           \
    X(ECORRUPT, -6, "content is corrupt")                                                          \
    X(EPERM, -7, "not permitted")                                                                  \
    X(ETIMEOUT, -8, "timed out")                                                                   \
    X(ECONN, -9, "unreachable")                                                                    \
    X(EPROTO, -10, "protocol violated")                                                            \
    X(EFENCED, -11, "superseded by a newer attempt or leader")                                     \
    X(EUNKNOWN, -12, "outcome unknown")                                                            \
    X(ENOTSUP, -13, "not supported here")                                                          \
    X(EDB, -14, "database refused")                                                                \
    X(EAGAIN, -15, "not now, try again")                                                           \
    X(ECANCELED, -16, "cancelled")

enum mlq_code {
#define MLQ_CODE_ENUM(name, value, text) MLQ_##name = value,
    MLQ_CODES(MLQ_CODE_ENUM)
#undef MLQ_CODE_ENUM
};

#define MLQ_ERR_TEXT_BYTES 480

struct mlq_err {
    int code;                      /* enum mlq_code */
    int sys_errno;                 /* errno when it was raised, or 0 */
    char text[MLQ_ERR_TEXT_BYTES]; /* always terminated; says the thing, the place, the way out */
};

#define MLQ_ERR_INIT                                                                               \
    {                                                                                              \
        .code = MLQ_OK                                                                             \
    }

/* The fixed words for a code, for instance "not found". Never NULL. */
const char *mlq_code_text(int code);

/* Fill `err` (if not NULL) and return `code`, so that callers write
 *     return mlq_fail(&err, MLQ_EIO, "open %s: %s", path, strerror(errno));
 * A text that is too long is cut, never overrun. */
int mlq_fail(struct mlq_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "<fmt>: " before the text that is already there and return err->code: the way up adds the
 * context. With err == NULL it returns `code` unchanged, hence the argument. */
int mlq_wrap(struct mlq_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
