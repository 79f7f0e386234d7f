/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Specs. What is refused is refused with a place; what is accepted can be explained, submitted and
 * read back, and is the same then.
 */
#include <jansson.h>
#include <string.h>

#include "lib/spec/spec.h"
#include "lib/spec/yaml.h"
#include "lib/spec/yaml_json.h"
#include "lib/sys/mem.h"
#include "tests/fuzz/fuzz.h"

/* libfyaml 0.7.12 loses the buffer of a quoted scalar that does not end (fy_atom_iter_chunk_next; where no
 * symbolizer is installed only the library's name is known). A scheduler never gives it such a text: what is
 * submitted is checked to be JSON first. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so";
}

static bool is_script(void *context, struct mlq_str word)
{
    (void)context;
    return word.len > 3 && memcmp(word.ptr + word.len - 3, ".py", 3) == 0;
}

static struct spec *read(struct mlq_str text, bool canonical, struct mlq_region *region)
{
    struct spec_options options = {.canonical = canonical,
                                   .is_script = canonical ? NULL : is_script};
    struct diag_list diags;
    diag_init(&diags, region, "fuzz");
    struct spec *spec = spec_parse(text, &options, region, &diags);
    MLQ_ASSERT((spec == NULL) == (diags.count > 0));
    return spec;
}

/* What is taken for JSON must be JSON to PostgreSQL and to whoever reads the record, too. */
static void check_json(struct mlq_str text, struct mlq_region *region)
{
    struct diag_list diags;
    json_error_t error;
    diag_init(&diags, region, "fuzz");
    if (yaml_json_parse(text, region, &diags) == NULL) {
        MLQ_ASSERT(diags.count > 0);
        return;
    }
    json_t *document = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    MLQ_ASSERT(document != NULL || json_error_code(&error) == json_error_numeric_overflow);
    json_decref(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mlq_region *region = mlq_region_create();
    (void)read(fuzz_text(data, size), true, region);
    check_json(fuzz_text(data, size), region);
    struct spec *spec = read(fuzz_text(data, size), false, region);
    if (spec != NULL) {
        MLQ_ASSERT(read(spec_explain(spec, region), false, region) != NULL);
        for (size_t i = 0; i < spec->file_count; i++) {
            spec->files[i].digest =
                MLQ_STR("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        }
        struct mlq_str once = spec_canonical(spec, region);
        const struct spec *again = read(once, true, region);
        MLQ_ASSERT(again != NULL && mlq_str_eq(once, spec_canonical(again, region)));
        struct spec *packed = spec_pack(again);
        MLQ_ASSERT(mlq_str_eq(once, spec_canonical(packed, region)));
        mlq_free(packed);
    }
    mlq_region_destroy(&region);
    return 0;
}
