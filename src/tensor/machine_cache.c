/* machine_cache.c - machine.h's file: where it lies, what is taken from it, how it is written.
 *
 *   {"moa": "0.1.0", "cpu": "...", "processors": 2, "isa": "avx512",
 *    "read": [{"threads": 1, "rate": 3.7e10}, ..],
 *    "peak": {"f32_avx512": [1.5e11, 3e11], ..},                     operations a second: one core, all
 *    "kernels": {"gemm_q8_q4_0": [["avx512", "avxvnni"], ..], ..}}   by class of rows, fastest first; names of kernels less their beginning
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/cpu.h"
#include "base/err.h"
#include "base/file.h"
#include "base/json.h"
#include "tensor/machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE = 256 << 10 };
#define MOST_RATE 1e18 /* of anything a second; the least is 1 */

int moa_machine_path(char out[4096], moa_err *err) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = 0;
    if (cache && *cache == '/') n = snprintf(out, 4096, "%s/moa/machine.json", cache); /* the specification: others are to be ignored */
    else if (home && *home) n = snprintf(out, 4096, "%s/.cache/moa/machine.json", home);
    if (n > 0 && n < 4096) return 0;
    return moa_fail(err, MOA_EIO, n ? "the cache folder's path is longer than 4095 bytes" : "no cache folder: neither XDG_CACHE_HOME nor HOME names one");
}

/* ---- reading ---- */

static int same(const char *what, const char *got, const char *want, moa_err *err) {
    return !strcmp(got, want) ? 0 : moa_fail(err, MOA_EFORMAT, "measured with %s '%.80s', not '%.80s'", what, got, want);
}

static int check_key(moa_machine *m, const json_t *root, moa_err *err) {
    const char *s;
    long long n;
    m->n_cpu = moa_cpu_count(), m->isa = moa_isa_best();
    moa_cpu_name(m->cpu);
    if (!json_is_object(root)) return moa_fail(err, MOA_EFORMAT, "expected an object");
    MOA_TRY(moa_json_get_str(&s, root, "moa", "", "file", err));
    MOA_TRY(same("moa", s, MOA_VERSION, err));
    MOA_TRY(moa_json_get_str(&s, root, "cpu", "", "file", err));
    MOA_TRY(same("CPU", s, m->cpu, err));
    MOA_TRY(moa_json_get_str(&s, root, "isa", "", "file", err));
    MOA_TRY(same("instruction set", s, moa_isa_name(m->isa), err));
    MOA_TRY(moa_json_get_int(&n, root, "processors", 0, "file", err));
    return n == m->n_cpu ? 0 : moa_fail(err, MOA_EFORMAT, "measured with %lld processors, not %d", n, m->n_cpu);
}

static bool is_rate(const json_t *v) {
    const double x = json_number_value(v);
    return json_is_number(v) && x >= 1 && x <= MOST_RATE; /* false for what is no number too */
}

static int load_reads(moa_machine *m, const json_t *a, moa_err *err) {
    const size_t n = json_array_size(a);
    if (n < 1 || n > MOA_READS) return moa_fail(err, MOA_EFORMAT, "\"read\": %zu entries, expected 1 to %d", n, MOA_READS);
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(a, i), *rate = json_object_get(e, "rate"), *threads = json_object_get(e, "threads");
        const long long t = json_integer_value(threads), least = i ? m->read[i - 1].threads + 1 : 1;
        if (!json_is_integer(threads) || t < least || t > 1 << 16 || !is_rate(rate))
            return moa_fail(err, MOA_EFORMAT, "\"read\"[%zu]: expected {\"threads\": %lld or more, \"rate\": 1 to %g}", i, least, MOST_RATE);
        m->read[i].threads = (int)t, m->read[i].rate = json_number_value(rate);
    }
    m->n_read = (int)n;
    return 0;
}

static int load_peaks(moa_machine *m, const json_t *o, moa_err *err) {
    int n;
    const moa_probe *const *p = moa_probes(&n);
    for (int i = 0; i < n && i < MOA_PROBES; i++) {
        if (p[i]->kind == MOA_LIMIT_READ || !moa_probe_usable(p[i])) continue;
        const json_t *v = json_object_get(o, p[i]->name);
        if (json_array_size(v) != 2 || !is_rate(json_array_get(v, 0)) || !is_rate(json_array_get(v, 1)))
            return moa_fail(err, MOA_EFORMAT, "\"peak\": \"%s\": expected two numbers, 1 to %g", p[i]->name, MOST_RATE);
        m->peak[i].one = json_number_value(json_array_get(v, 0)), m->peak[i].all = json_number_value(json_array_get(v, 1));
    }
    return 0;
}

static const moa_kernel *kernel_named(const char *family, const char *last) {
    const size_t n = strlen(family);
    int n_kernel;
    const moa_kernel *const *k = moa_kernel_list(&n_kernel);
    for (int i = 0; i < n_kernel; i++)
        if (!strncmp(k[i]->name, family, n) && k[i]->name[n] == '_' && !strcmp(k[i]->name + n + 1, last)) return k[i];
    return NULL;
}

static int row_op(moa_kernel_op op) {
    int n;
    const moa_kernel_op *ops = moa_row_ops(&n);
    for (int i = 0; i < n; i++)
        if (ops[i] == op) return i;
    return -1;
}

/* One family's ranking for a class of rows. A kernel that this CPU does not run, is not known or stands there twice is left out. */
static void load_ranking(moa_tuned *t, const char *family, int class, const json_t *names) {
    const moa_kernel **rank = NULL;
    int have = 0;
    for (size_t i = 0; i < json_array_size(names) && i < MOA_RANKS; i++) {
        const char *last = json_string_value(json_array_get(names, i));
        const moa_kernel *k = last ? kernel_named(family, last) : NULL;
        const int op = k ? row_op(k->op) : -1;
        if (op < 0 || k->isa > moa_isa_best() || (k->usable && !k->usable())) continue;
        if (!rank) rank = t->rank[op][k->dtype][class];
        bool twice = false;
        for (int j = 0; j < have; j++) twice |= rank[j] == k;
        if (!twice) rank[have++] = k;
    }
    t->n += have > 0;
}

static int load_kernels(moa_tuned *t, const json_t *o, moa_err *err) {
    const char *family;
    json_t *classes;
    if (o && !json_is_object(o)) return moa_fail(err, MOA_EFORMAT, "\"kernels\": expected an object");
    json_object_foreach((json_t *)(uintptr_t)o, family, classes) {
        if (json_array_size(classes) != MOA_ROW_CLASSES) return moa_fail(err, MOA_EFORMAT, "\"kernels\": \"%.64s\": expected %d lists", family, MOA_ROW_CLASSES);
        for (int c = 0; c < MOA_ROW_CLASSES; c++) load_ranking(t, family, c, json_array_get(classes, (size_t)c));
    }
    return 0;
}

int moa_machine_parse(moa_machine *m, const char *text, size_t n, const char *name, moa_err *err) {
    json_t *root = NULL;
    moa_err why = {0};
    memset(m, 0, sizeof *m);
    MOA_TRY(moa_json_parse(&root, text, n, MAX_FILE, name, err));
    int rc = check_key(m, root, &why);
    if (rc >= 0) rc = load_reads(m, json_object_get(root, "read"), &why);
    if (rc >= 0) rc = load_peaks(m, json_object_get(root, "peak"), &why);
    if (rc >= 0) rc = load_kernels(&m->tuned, json_object_get(root, "kernels"), &why);
    json_decref(root);
    if (rc < 0) return memset(m, 0, sizeof *m), moa_fail(err, rc, "%s: %s", name, why.text);
    m->cached = true;
    return 0;
}

int moa_machine_load(moa_machine *m, moa_err *err) {
    char path[4096], *text;
    struct stat st;
    size_t n;
    memset(m, 0, sizeof *m);
    MOA_TRY(moa_machine_path(path, err));
    if (stat(path, &st) != 0) {
        if (errno == ENOENT) return moa_fail(err, MOA_ENOTFOUND, "%s: not there", path);
        return moa_fail(err, MOA_EIO, "%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(st.st_mode)) return moa_fail(err, MOA_EIO, "%s: no plain file", path); /* a pipe would let us wait */
    MOA_TRY(moa_read_file(&text, &n, path, MAX_FILE, err));
    const int rc = moa_machine_parse(m, text, n, path, err);
    free(text);
    return rc;
}

/* ---- writing ---- */

/* Length of a kernel's name without its last part. */
static int family_of(const moa_kernel *k) { return (int)(strrchr(k->name, '_') - k->name); }

static void add_kernels(moa_buf *b, const moa_tuned *t) {
    bool first = true;
    int n_op;
    (void)moa_row_ops(&n_op);
    moa_buf_adds(b, ",\n \"kernels\": {");
    for (int op = 0; op < n_op; op++)
        for (int d = 0; d < MOA_DTYPE_MAX; d++) {
            const moa_kernel *any = NULL;
            for (int c = 0; c < MOA_ROW_CLASSES; c++) any = any ? any : t->rank[op][d][c][0];
            if (!any) continue;
            moa_buf_addf(b, "%s\n  \"%.*s\": [", first ? "" : ",", family_of(any), any->name);
            for (int c = 0; c < MOA_ROW_CLASSES; c++) {
                moa_buf_adds(b, c ? ", [" : "[");
                for (int r = 0; r < MOA_RANKS && t->rank[op][d][c][r]; r++) {
                    const moa_kernel *k = t->rank[op][d][c][r];
                    moa_buf_addf(b, "%s\"%s\"", r ? ", " : "", k->name + family_of(k) + 1);
                }
                moa_buf_adds(b, "]");
            }
            moa_buf_adds(b, "]");
            first = false;
        }
    moa_buf_adds(b, "}");
}

static void add_all(moa_buf *b, const moa_machine *m) {
    int n;
    const moa_probe *const *p = moa_probes(&n);
    moa_buf_addf(b, "{\"moa\": \"%s\", \"cpu\": ", MOA_VERSION);
    moa_json_add_str(b, m->cpu, strlen(m->cpu));
    moa_buf_addf(b, ", \"processors\": %d, \"isa\": \"%s\",\n \"read\": [", m->n_cpu, moa_isa_name(m->isa));
    for (int i = 0; i < m->n_read; i++) moa_buf_addf(b, "%s{\"threads\": %d, \"rate\": %.4g}", i ? ", " : "", m->read[i].threads, m->read[i].rate);
    moa_buf_adds(b, "],\n \"peak\": {");
    const char *comma = "";
    for (int i = 0; i < n && i < MOA_PROBES; i++)
        if (m->peak[i].one > 0) moa_buf_addf(b, "%s\"%s\": [%.4g, %.4g]", comma, p[i]->name, m->peak[i].one, m->peak[i].all), comma = ", ";
    moa_buf_adds(b, "}");
    add_kernels(b, &m->tuned);
    moa_buf_adds(b, "}\n");
}

int moa_machine_save(const moa_machine *m, moa_err *err) {
    char path[4096], folder[4096];
    moa_writer *w;
    moa_buf b;
    MOA_TRY(moa_machine_path(path, err));
    memcpy(folder, path, sizeof folder);
    *strrchr(folder, '/') = 0;
    MOA_TRY(moa_mkdirs(folder, err));
    MOA_TRY(moa_writer_open(&w, path, err));
    moa_buf_init(&b, MAX_FILE);
    add_all(&b, m);
    if (b.failed) {
        moa_writer_abort(w);
        moa_buf_deinit(&b);
        return moa_fail(err, MOA_ENOMEM, "%s: no memory to write it", path);
    }
    (void)moa_writer_add(w, moa_buf_str(&b), b.len); /* sticky: the commit tells */
    moa_buf_deinit(&b);
    return moa_writer_commit(w, err);
}
