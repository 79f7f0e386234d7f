/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/op/booster_api.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/sys/log.h"

#define LIBRARY "libxgboost.so.0"

/* A function pointer is copied as bytes, since C has no cast from void * to one. */
static int find(void *library, const char *symbol, void *member, struct mlq_err *err)
{
    void *found = dlsym(library, symbol);
    if (found == NULL) {
        return mlq_fail(err, MLQ_ENOTSUP, LIBRARY " has no %s: install Debian's libxgboost0 (1.7)",
                        symbol);
    }
    memcpy(member, &found, sizeof(found));
    return 0;
}

static void on_message(const char *text)
{
    log_warn("xgboost.warning", "text=\"%s\"", text);
}

/* The threads of a round wait for each other many times. OpenMP's would burn their processors
 * meanwhile, which costs ten times the time as soon as somebody else computes on the machine; they
 * shall sleep. Its library reads the variable when it is loaded. */
static void let_threads_sleep(void)
{
    (void)setenv("OMP_WAIT_POLICY", "passive", 0);
}

int booster_api_load(struct booster_api *api, struct mlq_err *err)
{
    let_threads_sleep();
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        return mlq_fail(
            err, MLQ_ENOTSUP,
            "XGBoost is not installed on this machine (%s): apt-get install libxgboost0",
            dlerror());
    }
    int rc = 0;
#define BOOSTER_API_FIND(name) rc = rc == 0 ? find(library, #name, &api->name, err) : rc;
    BOOSTER_API_FUNCTIONS(BOOSTER_API_FIND)
#undef BOOSTER_API_FIND
    if (rc == 0) {
        (void)api->XGBRegisterLogCallback(on_message);
    }
    return rc;
}

/* Texts are "[03:40:12] ./src/file.cc:12: Check failed: why" and a stack trace. */
const char *booster_api_reason(const struct booster_api *api, char *text, size_t bytes)
{
    const char *said = api->XGBGetLastError();
    const char *trace = strstr(said, "Stack trace");
    const char *failed = strstr(said, "Check failed: ");
    said = failed != NULL && (trace == NULL || failed < trace) ? failed + 14 : said;
    size_t len = trace != NULL && trace > said ? (size_t)(trace - said) : strlen(said);
    (void)snprintf(text, bytes, "%.*s", (int)(len < bytes ? len : bytes - 1), said);
    for (char *p = text; *p != '\0'; p++) {
        *p = *p == '\n' || *p == '\r' || *p == '"' ? ' ' : *p;
    }
    return text;
}
