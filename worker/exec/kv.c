/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/exec/kv.h"

#include <stdio.h>
#include <string.h>

#include "lib/base/panic.h"
#include "lib/sys/mem.h"

static void append(struct kv *kv, const char *bytes, size_t len)
{
    if (kv->len + len > kv->room) {
        kv->room = (kv->len + len) * 2;
        kv->data = mlq_realloc_array(kv->data, kv->room, 1);
    }
    memcpy(kv->data + kv->len, bytes, len);
    kv->len += len;
}

void kv_put(struct kv *kv, const char *key, struct mlq_str value)
{
    MLQ_ASSERT(strchr(key, '=') == NULL);
    MLQ_ASSERT(value.len == 0 || memchr(value.ptr, '\0', value.len) == NULL);
    append(kv, key, strlen(key));
    append(kv, "=", 1);
    if (value.len > 0) {
        append(kv, value.ptr, value.len);
    }
    append(kv, "", 1);
}

void kv_put_i64(struct kv *kv, const char *key, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%lld", (long long)value);
    kv_put(kv, key, mlq_str_from(text));
}

void kv_fini(struct kv *kv)
{
    mlq_free(kv->data);
    *kv = (struct kv){0};
}

bool kv_next(struct mlq_str *rest, struct mlq_str *key, struct mlq_str *value)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, '\0', rest->len);
    if (end == NULL) {
        return false;
    }
    struct mlq_str record = {.ptr = rest->ptr, .len = (size_t)(end - rest->ptr)};
    if (!mlq_str_cut(record, '=', key, value)) {
        return false;
    }
    rest->ptr += record.len + 1;
    rest->len -= record.len + 1;
    return true;
}
