/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "worker/coll/coll_plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "lib/sys/mem.h"

static char *own_folder(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    return mlq_strdup(path);
}

int coll_plugin_load(const char *folder, const struct coll_plugin **plugin, struct mlq_err *err)
{
    char *own = folder == NULL ? own_folder() : mlq_strdup(folder);
    char *path = mlq_format("%s/" COLL_PLUGIN_FILE, own);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* stays: NCCL has threads of its own */
    const struct coll_plugin *found = library == NULL ? NULL : dlsym(library, COLL_PLUGIN_SYMBOL);
    int rc = 0;
    if (found == NULL) {
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "the GPU plugin cannot be loaded: %s (it is built with the other programs "
                      "and lies beside them)",
                      dlerror());
    } else if (found->abi != COLL_PLUGIN_ABI) {
        rc = mlq_fail(err, MLQ_ENOTSUP,
                      "%s is of another build (interface %u, this program's is %u): install both "
                      "from one build",
                      path, found->abi, COLL_PLUGIN_ABI);
    } else {
        *plugin = found;
    }
    mlq_free(path);
    mlq_free(own);
    return rc;
}
