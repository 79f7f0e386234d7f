/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * An artifact store for each test, in store/, and an empty folder beside it, work/.
 */
#ifndef MLQ_TESTS_UNIT_CAS_STORE_H
#define MLQ_TESTS_UNIT_CAS_STORE_H

#include "lib/artifact/cas.h"
#include "lib/sys/fs.h"
#include "tests/unit/cm.h"

static struct cas *cas;

static inline int setup(void **state)
{
    (void)state;
    (void)mlq_fs_remove_tree("store", NULL);
    (void)mlq_fs_remove_tree("work", NULL);
    assert_int_equal(mlq_fs_make_dirs("work", 0755, NULL), MLQ_OK);
    assert_int_equal(cas_open("store", &cas, NULL), MLQ_OK);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    cas_close(&cas);
    return 0;
}

#endif
