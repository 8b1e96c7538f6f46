/* yaml.c - see yaml.h. SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct yaml_log { char text[200], key[64]; int line; } yaml_log;

/* libcyaml tells its story line by line: the complaint, then a backtrace from the inside out. The first of each counts: the line of
 * the value, the key that holds it. */
static void on_log(cyaml_log_t level, void *ctx, const char *fmt, va_list ap) {
    (void)level;
    yaml_log *l = ctx;
    char line[200];
    vsnprintf(line, sizeof line, fmt, ap);
    const char *at = strstr(line, "(line: ");
    if (at && !l->line) l->line = (int)strtol(at + 7, NULL, 10);
    const char *key = at ? strstr(line, "mapping field '") : NULL;
    if (key && !l->key[0]) snprintf(l->key, sizeof l->key, "%.*s", (int)strcspn(key + 15, "'"), key + 15);
    if (at || l->text[0] || strstr(line, "Backtrace")) return;
    const char *from = !strncmp(line, "Load: ", 6) ? line + 6 : line;
    snprintf(l->text, sizeof l->text, "%.*s", (int)strcspn(from, "\n"), from);
}

static const cyaml_config_t yaml_base = {.log_fn = on_log, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem,
                                         .flags = CYAML_CFG_NO_ALIAS};

int moa_yaml_load(void **out, const char *text, size_t n, const char *name, const char *what, const cyaml_schema_value_t *schema, moa_yaml_tell_fn tell, moa_err *err) {
    yaml_log log = {{0}, {0}, 0};
    cyaml_config_t cfg = yaml_base;
    cfg.log_ctx = &log;
    *out = NULL;
    cyaml_err_t rc = cyaml_load_data((const uint8_t *)text, n, &cfg, schema, out, NULL);
    if (rc == CYAML_OK && *out) return 0;
    if (rc == CYAML_ERR_OOM) return moa_fail(err, MOA_ENOMEM, "%s: no memory for the %s", name, what);
    moa_buf more;
    moa_buf_init(&more, 1024);
    if (log.key[0] && strncmp(log.text, "Invalid ", 8) == 0) {
        moa_buf_addf(&more, ", as %s", log.key);
        if (tell) tell(&more, log.key);
    }
    moa_fail(err, MOA_EFORMAT, "%s:%d: %s%s", name, log.line ? log.line : 1, log.text[0] ? log.text : cyaml_strerror(rc), moa_buf_str(&more));
    moa_buf_deinit(&more);
    return MOA_EFORMAT;
}

void moa_yaml_free(void *data, const cyaml_schema_value_t *schema) {
    yaml_log log = {{0}, {0}, 0};
    cyaml_config_t cfg = yaml_base;
    cfg.log_ctx = &log;
    cyaml_free(&cfg, schema, data, 0);
}
