/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * replay FOLDER: each file of the corpus once, through a target that no fuzzer drives. What fuzzing
 * has found once stays found.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "lib/sys/fs.h"
#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"

#define INPUT_BYTES_MAX (1u << 20)

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    unsigned count = 0;
    if (folder == NULL) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char *path = mlq_fs_join(argv[1], entry->d_name);
        char *data = NULL;
        size_t len = 0;
        if (entry->d_name[0] != '.' && mlq_fs_read(path, INPUT_BYTES_MAX, &data, &len, NULL) == 0) {
            printf("%s\n", entry->d_name);
            (void)fflush(stdout);
            (void)LLVMFuzzerTestOneInput((const uint8_t *)data, len);
            count++;
        }
        mlq_free(data);
        mlq_free(path);
    }
    (void)closedir(folder);
    return count > 0 ? 0 : 1;
}
