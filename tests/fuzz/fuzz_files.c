/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * The small files of a worker's folder and of a server: a member's state (its description, its end,
 * all of it), and the enrolled keys. The first byte says which. What loads can be saved, and is the
 * same then.
 */
#include <string.h>

#include "lib/net/enrolled.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "lib/sys/region.h"
#include "tests/fuzz/fuzz.h"
#include "worker/exec/shimfile.h"

/* The file as it is, or behind a page that says no more than its length. */
static void put_state(struct mlq_str bytes, bool has_page)
{
    char *path = mlq_fs_join(fuzz_folder(), SHIMFILE_STATE);
    const size_t page = has_page ? SHIMFILE_PAGE_BYTES : 0;
    const uint64_t len = bytes.len;
    char *file = mlq_alloc(page + bytes.len);
    memcpy(file + page, bytes.ptr, bytes.len);
    if (has_page) {
        memcpy(file + page - sizeof len, &len, sizeof len);
    }
    struct mlq_str whole = {.ptr = file, .len = page + bytes.len};
    MLQ_ASSERT(mlq_fs_write_whole(path, whole, 0600, NULL) == MLQ_OK);
    mlq_free(file);
    mlq_free(path);
}

static void read_conf(struct mlq_region *region, struct mlq_str bytes)
{
    struct shimfile_conf conf;
    struct shimfile_conf again;
    put_state(bytes, true);
    if (shimfile_load_conf(fuzz_folder(), region, &conf, NULL) != MLQ_OK) {
        return;
    }
    MLQ_ASSERT(conf.workdir != NULL && conf.argv != NULL && conf.argv[0] != NULL);
    MLQ_ASSERT(shimfile_save_conf(fuzz_folder(), &conf, NULL) == MLQ_OK);
    MLQ_ASSERT(shimfile_load_conf(fuzz_folder(), region, &again, NULL) == MLQ_OK);
    MLQ_ASSERT(again.grace_ns == conf.grace_ns && strcmp(again.argv[0], conf.argv[0]) == 0);
}

static void read_end(struct mlq_str bytes)
{
    struct shimfile_end end;
    struct shimfile_end again;
    if (!shimfile_parse_end(bytes, &end)) {
        return;
    }
    put_state(MLQ_STR(""), true);
    MLQ_ASSERT(memchr(end.detail, '\0', sizeof end.detail) != NULL);
    MLQ_ASSERT(shimfile_save_end(fuzz_folder(), &end, NULL) == MLQ_OK);
    MLQ_ASSERT(shimfile_load_end(fuzz_folder(), &again, NULL) == MLQ_OK);
    MLQ_ASSERT(again.cause == end.cause && again.exit_code == end.exit_code);
}

static void read_any(struct mlq_region *region, struct mlq_str bytes)
{
    struct shimfile_conf conf;
    struct shimfile_end end;
    put_state(bytes, false);
    (void)shimfile_load_conf(fuzz_folder(), region, &conf, NULL);
    (void)shimfile_load_end(fuzz_folder(), &end, NULL);
}

static void read_lines(struct mlq_str rest)
{
    struct mlq_str line;
    bool more = true;
    while (more) {
        struct enrolled_entry entry;
        more = mlq_str_cut(rest, '\n', &line, &rest);
        if (enrolled_parse_line(line, &entry, NULL) == MLQ_OK) {
            MLQ_ASSERT(strlen(entry.public_key) == NET_KEY_TEXT_BYTES - 1 && entry.name[0] != '\0');
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mlq_region *region = mlq_region_create();
    struct mlq_str rest = size == 0 ? MLQ_STR("") : fuzz_text(data + 1, size - 1);
    switch (size == 0 ? 0 : data[0] % 4) {
    case 0:
        read_conf(region, rest);
        break;
    case 1:
        read_end(rest);
        break;
    case 2:
        read_any(region, rest);
        break;
    case 3:
        read_lines(rest);
        break;
    }
    mlq_region_destroy(&region);
    return 0;
}
