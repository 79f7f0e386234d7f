/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Small files of a test, in its own folder.
 */
#ifndef MLQ_TESTS_UNIT_FILES_H
#define MLQ_TESTS_UNIT_FILES_H

#include "lib/base/str.h"
#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/unit/cm.h"

static inline void write_file(const char *path, const char *text)
{
    assert_int_equal(mlq_fs_write_whole(path, mlq_str_from(text), 0644, NULL), MLQ_OK);
}

static inline void assert_file(const char *path, const char *text)
{
    char *data = NULL;
    size_t len = 0;
    assert_int_equal(mlq_fs_read(path, 1 << 20, &data, &len, NULL), MLQ_OK);
    assert_string_equal(data, text);
    mlq_free(data);
}

#endif
