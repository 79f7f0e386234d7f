/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: mlq authors
 *
 * Typed values out of YAML nodes. Each reader returns true and sets *value, or adds a diagnostic at
 * the node's place ("timeout: expected a duration like 90s, 10m or 1h30m, found 'soon'") and returns
 * false, leaving *value as it was. `what` names the field.
 */
#ifndef MLQ_SPEC_FIELD_H
#define MLQ_SPEC_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/str.h"
#include "lib/spec/diag.h"
#include "lib/spec/yaml.h"

bool field_text(const struct yaml_node *node, struct diag_list *diags, const char *what, struct mlq_str *value);
bool field_integer(const struct yaml_node *node, struct diag_list *diags, const char *what,
                   int64_t min, int64_t max, int64_t *value);
bool field_number(const struct yaml_node *node, struct diag_list *diags, const char *what, double *value);
bool field_bool(const struct yaml_node *node, struct diag_list *diags, const char *what, bool *value);

/* Numbers with units ms, s, m, h, d, in falling order: "1h30m". A plain number is seconds. In (0, 366 d]. */
bool field_duration(const struct yaml_node *node, struct diag_list *diags, const char *what, int64_t *value_ns);

/* Bytes with Ki Mi Gi Ti (1024) or K M G T (1000): "4Gi", "1.5G". In [1, 2^53]. */
bool field_size(const struct yaml_node *node, struct diag_list *diags, const char *what, int64_t *value_bytes);

/* Thousandths of a CPU: "500m", "2", "1.5". In [1, 1024000]. */
bool field_cpus(const struct yaml_node *node, struct diag_list *diags, const char *what, int64_t *value_milli);

/* 1..63 of [A-Za-z0-9], and inside also - and _ (and . where `dots`). */
bool field_name(const struct yaml_node *node, struct diag_list *diags, const char *what, bool dots,
                struct mlq_str *value);
bool field_is_name(struct mlq_str text, bool dots);

/* The node must be a mapping (else a diagnostic, false); each key that is not in `names` gets one. */
bool field_mapping(const struct yaml_node *node, struct diag_list *diags, const char *what,
                   const char *const *names);
bool field_sequence(const struct yaml_node *node, struct diag_list *diags, const char *what, size_t max);

/* "90s", "1h30m": the shortest exact text of a duration. */
const char *field_format_duration(struct mlq_region *region, int64_t ns);

/* A finite decimal number that is the whole slice; no hex, no inf, no nan. */
bool field_parse_number(struct mlq_str text, double *value);

#endif
