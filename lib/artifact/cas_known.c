/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "lib/artifact/cas_known.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/artifact/sha256.h"
#include "lib/sys/clock.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"

/* Times of modification are those of the last tick of the kernel's clock, 10 ms at most; some file
 * systems keep every or every other second. */
#define TICK_NS   INT64_C(10000000)
#define COARSE_NS INT64_C(2000000000)

#define BOOT_ID        "/proc/sys/kernel/random/boot_id"
#define BOOT_BYTES_MAX 64
#define NAME_BYTES     128
#define FORMAT         1u

/* Without gaps, since its bytes are hashed. */
struct line {
    uint64_t format;
    struct cas_digest key; /* an object's digest, or source_key; gives the line its place */
    struct cas_digest digest;
    uint64_t device;
    uint64_t inode;
    int64_t bytes;
    int64_t modified_ns;
    int64_t at_ns;           /* mlq_clock_boot_ns when it was hashed */
    struct cas_digest check; /* of all in front of it */
};
_Static_assert(sizeof(struct line) == 6 * sizeof(uint64_t) + 3 * sizeof(struct cas_digest),
               "no gaps");

/* ---- The table ---- */

void cas_known_init(struct cas_known *known, int folder_fd)
{
    *known = (struct cas_known){.folder_fd = folder_fd, .fd = -1, .trust_ns = CAS_KNOWN_NS};
}

static void shut(struct cas_known *known)
{
    if (known->fd >= 0) {
        close(known->fd);
    }
    known->fd = -1;
}

void cas_known_fini(struct cas_known *known)
{
    shut(known);
}

static bool name_table(char name[NAME_BYTES])
{
    char *boot = NULL;
    size_t len = 0;
    if (mlq_fs_read(BOOT_ID, BOOT_BYTES_MAX, &boot, &len, NULL) != MLQ_OK) {
        return false;
    }
    struct mlq_str id = mlq_str_trim((struct mlq_str){boot, len});
    bool is_name = id.len > 0 && mlq_fs_is_inner_path(id) && memchr(id.ptr, '/', id.len) == NULL;
    if (is_name) {
        (void)snprintf(name, NAME_BYTES, CAS_KNOWN_PREFIX "%.*s-%u", MLQ_STR_ARG(id),
                       (unsigned)geteuid());
    }
    mlq_free(boot);
    return is_name;
}

static bool is_ours_alone(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
           status.st_nlink == 1 && (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/* Where there cannot be one, nothing is known. */
static bool open_table(struct cas_known *known)
{
    char name[NAME_BYTES];
    if (!known->is_tried && name_table(name)) {
        known->fd = openat(known->folder_fd, name,
                           O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (known->fd >= 0 && !is_ours_alone(known->fd)) {
            shut(known);
        }
    }
    known->is_tried = true;
    return known->fd >= 0;
}

static off_t place_of(const struct cas_digest *key)
{
    uint64_t number;
    memcpy(&number, key->sha256, sizeof number);
    return (off_t)(number % CAS_KNOWN_LINES * sizeof(struct line));
}

static struct cas_digest check_of(const struct line *line)
{
    struct cas_digest check;
    sha256_of(line, offsetof(struct line, check), &check);
    return check;
}

/* In part, on a full disk: it will not be believed. */
static void write_line(struct cas_known *known, struct line *line)
{
    line->at_ns = mlq_clock_boot_ns();
    line->check = check_of(line);
    (void)pwrite(known->fd, line, sizeof *line, place_of(&line->key));
}

/* The line of this key, if it is a line. */
static bool read_line(struct cas_known *known, const struct cas_digest *key, struct line *line)
{
    if (!open_table(known) ||
        pread(known->fd, line, sizeof *line, place_of(key)) != (ssize_t)sizeof *line) {
        return false;
    }
    struct cas_digest check = check_of(line);
    return cas_digest_eq(&check, &line->check);
}

/* ---- Objects ---- */

static int64_t ns_of(struct timespec time)
{
    return (int64_t)time.tv_sec * MLQ_NS_PER_S + time.tv_nsec;
}

static struct line describe(const struct cas_digest *key, const struct cas_digest *digest,
                            const struct stat *status)
{
    return (struct line){
        .format = FORMAT,
        .key = *key,
        .digest = *digest,
        .device = status->st_dev,
        .inode = status->st_ino,
        .bytes = status->st_size,
        .modified_ns = ns_of(status->st_mtim),
    };
}

/* All but when it was hashed. */
static bool is_same(const struct line *a, const struct line *b)
{
    return memcmp(a, b, offsetof(struct line, at_ns)) == 0;
}

/* Whether a change from now on would get another time. */
static bool is_settled(const struct stat *status)
{
    int64_t grain_ns = status->st_mtim.tv_nsec == 0 ? COARSE_NS : TICK_NS;
    return mlq_clock_wall_us() * 1000 - ns_of(status->st_mtim) > 2 * grain_ns;
}

void cas_known_add(struct cas_known *known, const struct cas_digest *digest,
                   const struct stat *before, const struct stat *after)
{
    struct line line = describe(digest, digest, before);
    struct line now = describe(digest, digest, after);
    if (after->st_size >= (off_t)CAS_KNOWN_BYTES_MIN && is_same(&line, &now) && is_settled(after) &&
        open_table(known)) {
        write_line(known, &line);
    }
}

bool cas_known_has(struct cas_known *known, const struct cas_digest *digest, const struct stat *now)
{
    struct line line;
    if (now->st_size < (off_t)CAS_KNOWN_BYTES_MIN || !read_line(known, digest, &line)) {
        return false;
    }
    struct line wanted = describe(digest, digest, now);
    int64_t age_ns = mlq_clock_boot_ns() - line.at_ns;
    return is_same(&line, &wanted) && age_ns >= 0 && age_ns < known->trust_ns;
}

void cas_known_forget(struct cas_known *known, const struct cas_digest *digest)
{
    const struct line nothing = {0};
    if (open_table(known)) {
        (void)pwrite(known->fd, &nothing, sizeof nothing, place_of(digest));
    }
}

/* ---- Sources ---- */

static struct cas_digest source_key(const struct stat *status)
{
    const uint64_t file[] = {status->st_dev, status->st_ino};
    struct cas_digest key;
    sha256_of(file, sizeof file, &key);
    return key;
}

void cas_known_add_source(struct cas_known *known, const struct stat *status,
                          const struct cas_digest *digest)
{
    struct cas_digest key = source_key(status);
    struct line line = describe(&key, digest, status);
    if (open_table(known)) {
        write_line(known, &line);
    }
}

bool cas_known_source(struct cas_known *known, const struct stat *now, struct cas_digest *digest)
{
    struct line line;
    struct cas_digest key = source_key(now);
    if (!read_line(known, &key, &line)) {
        return false;
    }
    struct line wanted = describe(&key, &line.digest, now);
    *digest = line.digest;
    return is_same(&line, &wanted);
}
