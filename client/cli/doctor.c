/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 */
#include "client/cli/doctor.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/cli/table.h"
#include "lib/base/ownership.h"
#include "lib/base/panic.h"
#include "lib/sys/mem.h"

static const char *const words[] = {
    [DOCTOR_OK] = "ok", [DOCTOR_NOTE] = "note", [DOCTOR_WRONG] = "wrong"};

void doctor_add(struct doctor *doctor, enum doctor_state state, const char *name, const char *mend,
                const char *fmt, ...)
{
    if (doctor->count == doctor->room) {
        size_t room = doctor->room == 0 ? 32 : doctor->room * 2;
        struct doctor_check *checks = mlq_region_array(doctor->region, room, sizeof *checks);
        if (doctor->count > 0) {
            memcpy(checks, doctor->checks, doctor->count * sizeof *checks);
        }
        doctor->checks = checks;
        doctor->room = room;
    }
    va_list args;
    va_start(args, fmt);
    char *text = mlq_vformat(fmt, args);
    va_end(args);
    doctor->checks[doctor->count++] =
        (struct doctor_check){.state = state,
                              .name = mlq_region_strdup(doctor->region, name),
                              .text = mlq_region_strdup(doctor->region, text),
                              .mend = mlq_region_strdup(doctor->region, mend)};
    mlq_free(text);
}

size_t doctor_count(const struct doctor *doctor, enum doctor_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < doctor->count; i++) {
        count += doctor->checks[i].state == state ? 1 : 0;
    }
    return count;
}

static bool wants_mending(const struct doctor_check *check)
{
    return check->state != DOCTOR_OK && check->mend != NULL;
}

/* Each command once, with what it mends. */
static void print_mends(const struct doctor *doctor)
{
    const char *head = "\nto mend:\n";
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_check *check = &doctor->checks[i];
        bool is_first = wants_mending(check);
        for (size_t before = 0; is_first && before < i; before++) {
            is_first = !wants_mending(&doctor->checks[before]) || strcmp(doctor->checks[before].mend, check->mend) != 0;
        }
        if (!is_first) {
            continue;
        }
        printf("%s  %s", head, check->name);
        head = "";
        for (size_t after = i + 1; after < doctor->count; after++) {
            if (wants_mending(&doctor->checks[after]) && strcmp(doctor->checks[after].mend, check->mend) == 0) {
                printf(", %s", doctor->checks[after].name);
            }
        }
        printf(": %s\n", check->mend);
    }
}

void doctor_print(const struct doctor *doctor, bool header)
{
    static const struct table_column columns[] = {
        {.title = "STATE", .state = true}, {.title = "CHECK"}, {.title = "FOUND"}};
    struct table *table = table_create(doctor->region, columns, MLQ_COUNT_OF(columns));
    for (size_t i = 0; i < doctor->count; i++) {
        table_cell(table, "%s", words[doctor->checks[i].state]);
        table_cell(table, "%s", doctor->checks[i].name);
        table_cell(table, "%s", doctor->checks[i].text);
    }
    table_print(table, stdout, header, table_width(stdout), table_colour(stdout));
    print_mends(doctor);
}

void doctor_print_json(const struct doctor *doctor)
{
    json_t *checks = json_array();
    for (size_t i = 0; i < doctor->count; i++) {
        const struct doctor_check *check = &doctor->checks[i];
        json_t *entry = json_pack("{s:s, s:s, s:s, s:s?}", "name", check->name, "state",
                                  words[check->state], "found", check->text, "mend", check->mend);
        MLQ_ASSERT(entry != NULL);
        (void)json_array_append_new(checks, entry);
    }
    json_t *document =
        json_pack("{s:s, s:b, s:o}", "schema", "mlq/v1", "healthy",
                  (int)(doctor_count(doctor, DOCTOR_WRONG) == 0), "checks", checks);
    MLQ_ASSERT(document != NULL);
    (void)json_dumpf(document, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
    json_decref(document);
}
