/* test_machine.c - the machine's limits and the choice of kernels: what is measured are numbers, what is kept comes back, what cannot be
 * kept or trusted is measured again, and the choice never changes a bit.
 * SPDX-License-Identifier: Apache-2.0 */
#include "tensor/machine.h"
#include "base/file.h"
#include "base/rng.h"
#include "support/scratch.h"
#include "tensor/exec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static moa_machine real; /* measured once */

static void test_measure(void **state) {
    (void)state;
    moa_err err = {0};
    assert_int_equal(moa_machine_measure(&real, &err), 0);
    int n;
    const moa_probe *const *p = moa_probes(&n);
    assert_true(n <= MOA_PROBES && real.n_read >= 1 && real.read[0].threads == 1 && real.read[real.n_read - 1].threads == real.n_cpu);
    for (int i = 0; i < real.n_read; i++) assert_true(real.read[i].rate > 1e6 && real.read[i].rate < 1e14);
    for (int i = 0; i < n; i++) {
        const bool has = p[i]->kind != MOA_LIMIT_READ && moa_probe_usable(p[i]);
        assert_int_equal(real.peak[i].one > 0, has);
        assert_true(!has || (real.peak[i].one > 1e7 && real.peak[i].one < 1e15 && real.peak[i].all > 1e7));
    }
    assert_true(moa_machine_read(&real, 1) == real.read[0].rate && moa_machine_read(&real, 1 << 20) == real.read[real.n_read - 1].rate);
    const moa_machine three = {.n_read = 2, .read = {{1, 10}, {3, 30}}};
    assert_true(fabs(moa_machine_read(&three, 2) - 20) < 1e-9);
    assert_true(moa_machine_read_now(1, 1) > 1e6);
}

/* Every product has a limit to be compared with, and loops do what they say however wide: the names fit. */
static void test_probes(void **state) {
    (void)state;
    int n, n_probe;
    const moa_kernel *const *k = moa_kernel_list(&n);
    const moa_probe *const *p = moa_probes(&n_probe);
    for (int i = 0; i < n; i++) {
        if (k[i]->op != MOA_K_GEMM && k[i]->op != MOA_K_GEMM_Q8) continue;
        const int at = moa_probe_of(k[i]);
        if (k[i]->isa == MOA_ISA_REF) assert_int_equal(at, -1);
        else if (at < 0 || p[at]->isa != k[i]->isa) fail_msg("%s has no probe", k[i]->name);
    }
    assert_true(moa_probe_best(MOA_LIMIT_READ, MOA_ISA_REF) >= 0);
    assert_int_equal(moa_probe_best(MOA_LIMIT_F32, MOA_ISA_REF), -1);
    static _Alignas(64) char zero[4 * MOA_PROBE_PIECE];
    for (int i = 0; i < n_probe; i++)
        if (p[i]->kind == MOA_LIMIT_READ && moa_probe_usable(p[i])) /* each stream's last bytes count too */
            for (int at = MOA_PROBE_PIECE - 1; at < (int)sizeof zero; at += MOA_PROBE_PIECE) {
                const uint64_t none = p[i]->run(zero, sizeof zero);
                zero[at] = 1;
                if (p[i]->run(zero, sizeof zero) == none) fail_msg("%s does not read byte %d", p[i]->name, at);
                zero[at] = 0;
            }
}

/* ---- the file ---- */

static const char *cache_file(void) {
    static char path[4096];
    assert_int_equal(moa_machine_path(path, NULL), 0);
    return path;
}

static void put(const char *text, size_t n) {
    FILE *f = fopen(cache_file(), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* Slowest first: plain C, then the narrowest. */
static void worst(moa_tuned *t) {
    int n_op;
    const moa_kernel_op *op = moa_row_ops(&n_op);
    memset(t, 0, sizeof *t);
    for (int o = 0; o < n_op; o++)
        for (int d = 0; d < MOA_DTYPE_MAX; d++) {
            const moa_kernel *k[MOA_RANKS];
            const int n = moa_tune_candidates(k, op[o], (moa_dtype)d);
            const moa_kernels *ref;
            assert_int_equal(moa_kernels_get(&ref, MOA_ISA_REF, NULL), 0);
            for (int c = 0; n && c < MOA_ROW_CLASSES; c++) {
                const moa_kernel **r = t->rank[o][d][c];
                *r++ = ref->slot[op[o]][d];
                for (int i = 0; i < n && i < MOA_RANKS - 1; i++) r[i] = k[i];
                t->n++;
            }
        }
}

static void use_cache(const char *name) { setenv("XDG_CACHE_HOME", scratch_path(name, ""), 1); }

static void test_kept(void **state) {
    (void)state;
    static moa_machine m, back;
    moa_err err = {0}, note = {0};
    use_cache("kept");
    assert_int_equal(moa_machine_load(&back, &err), MOA_ENOTFOUND);
    assert_int_equal(moa_machine_get(&m, &note, &err), 0);
    assert_true(!note.code && !m.cached && m.seconds > 0);
    worst(&m.tuned);
    assert_int_equal(moa_machine_save(&m, &err), 0);
    assert_int_equal(moa_machine_get(&back, &note, &err), 0);
    assert_true(back.cached && !note.code && back.n_read == m.n_read && !strcmp(back.cpu, m.cpu));
    for (int i = 0; i < m.n_read; i++) assert_true(back.read[i].threads == m.read[i].threads && fabs(back.read[i].rate / m.read[i].rate - 1) < 1e-3);
    for (int i = 0; i < MOA_PROBES; i++) assert_true(fabs(back.peak[i].all - m.peak[i].all) <= 1e-3 * m.peak[i].all);
    assert_int_equal(back.tuned.n, m.tuned.n);
    assert_memory_equal(back.tuned.rank, m.tuned.rank, sizeof m.tuned.rank);
}

/* What is not of this machine or this program, and what is damaged, is said and measured again; then the file is good. */
static void test_not_trusted(void **state) {
    (void)state;
    static moa_machine m;
    moa_err err = {0}, note;
    use_cache("kept");
    char *text, other[1 << 17];
    size_t n;
    assert_int_equal(moa_read_file(&text, &n, cache_file(), 1 << 17, &err), 0);
    char cpu[MOA_CPU_NAME + 2], isa[32], processors[48];
    snprintf(cpu, sizeof cpu, "\"%s\"", real.cpu);
    snprintf(isa, sizeof isa, "\"isa\": \"%s\"", moa_isa_name(moa_isa_best()));
    snprintf(processors, sizeof processors, "\"processors\": %d", real.n_cpu);
    const struct { const char *from, *to, *says; } change[] = {
        {"\"" MOA_VERSION "\"", "\"0.0.9\"", "moa '0.0.9'"}, {cpu, "\"Other CPU\"", "CPU 'Other CPU'"}, {cpu, "7", "cpu"},
        {processors, "\"processors\": 777", "777 processors"}, {isa, "\"isa\": \"sse9\"", "sse9"}, {"\"threads\": 1,", "\"threads\": 0,", "read"},
        {"\"threads\": 1,", "\"threads\": \"1\",", "read"}, {"\"rate\": ", "\"rate\": -", "read"}, {"\"rate\": ", "\"rate\": 1e308, \"old\": ", "read"},
        {"\"rate\": ", "\"rate\": 1e999, \"old\": ", ""}, {"\"peak\": {", "\"peak\": {}, \"p\": {", "peak"}, {"\"kernels\": {", "\"kernels\": 3, \"k\": {", "kernels"}, {"{", "", ""},
    };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        const char *at = strstr(text, change[i].from);
        if (!at) fail_msg("the file has no %s", change[i].from);
        const int len = snprintf(other, sizeof other, "%.*s%s%s", (int)(at - text), text, change[i].to, at + strlen(change[i].from));
        put(other, (size_t)len);
        err = (moa_err){0};
        if (moa_machine_load(&m, &err) >= 0) fail_msg("%s instead of %s was taken", change[i].to, change[i].from);
        if (!strstr(err.text, "machine.json") || !strstr(err.text, change[i].says)) fail_msg("'%s' does not name the file and '%s'", err.text, change[i].says);
        assert_true(!m.n_read && !m.tuned.n && !m.cached);
    }
    assert_int_equal(moa_machine_get(&m, &note, &err), 0);
    assert_true(note.code && strstr(note.text, "machine.json") && strstr(note.hint, "again") && m.n_read);
    assert_int_equal(moa_machine_load(&m, &err), 0);
    for (size_t cut = 0; cut + 2 < n; cut += 1 + cut / 9) { /* half a file */
        put(text, cut);
        if (moa_machine_load(&m, &err) >= 0) fail_msg("%zu bytes of %zu were taken", cut, n);
    }
    memset(other, '[', sizeof other);
    put(other, sizeof other); /* nested deeper than any reader's stack */
    assert_true(moa_machine_load(&m, &err) < 0);
    put(text, n);
    assert_int_equal(truncate(cache_file(), 1 << 20), 0);
    assert_int_equal(moa_machine_load(&m, &err), MOA_ELIMIT);
    free(text);
}

static void test_no_place(void **state) {
    (void)state;
    static moa_machine m;
    moa_err err = {0}, note;
    char home[4096];
    snprintf(home, sizeof home, "%s", getenv("HOME") ? getenv("HOME") : "");
    unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");
    assert_int_equal(moa_machine_get(&m, &note, &err), 0); /* nowhere */
    assert_true(m.n_read && note.code && strstr(note.text, "XDG_CACHE_HOME"));
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_true(moa_machine_load(&m, &err) < 0 && strstr(err.text, "neither"));
    setenv("HOME", scratch_path("home", ""), 1); /* a relative one does not count */
    char path[4096];
    assert_int_equal(moa_machine_path(path, &err), 0);
    assert_non_null(strstr(path, "/home/.cache/moa/machine.json"));
    setenv("HOME", home, 1);

    FILE *f = fopen(scratch_path("plain", ""), "w"); /* a file where the folder should be: not even root writes there */
    fclose(f);
    use_cache("plain");
    assert_int_equal(moa_machine_get(&m, &note, &err), 0);
    assert_true(m.n_read && note.code && strstr(note.text, "plain"));

    use_cache("strange");
    assert_int_equal(moa_mkdirs(scratch_path("strange/moa/machine.json", ""), &err), 0); /* a folder in its place */
    assert_true(moa_machine_load(&m, &err) < 0 && moa_machine_save(&real, &err) < 0);
    assert_int_equal(rmdir(cache_file()), 0);
    assert_int_equal(mkfifo(cache_file(), 0600), 0); /* a pipe that nobody writes to: must not wait */
    assert_int_equal(moa_machine_load(&m, &err), MOA_EIO);
    assert_int_equal(unlink(cache_file()), 0);
    assert_int_equal(symlink("machine.json", cache_file()), 0); /* a link to itself */
    assert_int_equal(moa_machine_load(&m, &err), MOA_EIO);
}

/* ---- the choice ---- */

static void test_limits_of_isa(void **state) {
    (void)state;
    static moa_tuned t;
    worst(&t);
    for (int isa = 0; isa <= (int)moa_isa_best(); isa++) {
        const moa_kernels *usual;
        assert_int_equal(moa_kernels_get(&usual, (moa_isa)isa, NULL), 0);
        moa_kernels k = *usual;
        moa_tuned_apply(&k, &t);
        assert_string_equal(k.gemm_q8[0][MOA_Q4_0]->name, "gemm_q8_q4_0_ref");
        for (int d = 0; d < MOA_DTYPE_MAX; d++)
            for (int c = 0; c < MOA_ROW_CLASSES; c++) assert_true(!k.gemm_q8[c][d] == !usual->gemm_q8[c][d] && (!k.gemm_q8[c][d] || (int)k.gemm_q8[c][d]->isa <= isa));
    }
    if (moa_isa_best() < MOA_ISA_AVX512) return;
    const moa_kernels *table[MOA_ISA_COUNT]; /* only AVX-512 named: lower tables keep what they have */
    moa_tuned one = {.n = 1};
    assert_int_equal(moa_kernels_get(&table[0], MOA_ISA_AVX512, NULL), 0);
    assert_int_equal(moa_kernels_get(&table[1], MOA_ISA_AVX2, NULL), 0);
    one.rank[0][MOA_Q4_0][0][0] = table[0]->slot[MOA_K_GEMM_Q8][MOA_Q4_0];
    moa_kernels k = *table[1];
    moa_tuned_apply(&k, &one);
    assert_memory_equal(&k, table[1], sizeof k);
}

/* y of every type with int8 products, for rows of every class, by the table t. */
static float *products(const moa_kernels *t, size_t *n) {
    enum { IN = 512, OUT = 40 };
    static const int rows[] = {1, 3, 9, 33};
    static float x[33 * IN], w[OUT * IN], y[4 << 20];
    moa_rng r;
    moa_rng_seed(&r, 3);
    for (int i = 0; i < 33 * IN; i++) x[i] = (float)moa_rng_normal(&r);
    for (int i = 0; i < OUT * IN; i++) w[i] = (float)moa_rng_normal(&r) * 0.1f;
    moa_exec e = {.k = t, .arena = moa_arena_new(0, 0), .n_threads = 1, .compute = MOA_F32};
    *n = 0;
    for (int d = 0; d < MOA_DTYPE_MAX; d++) {
        const moa_type *type = moa_type_get((moa_dtype)d);
        if (!t->slot[MOA_K_GEMM_Q8][d] || !type->quantize) continue;
        void *q = malloc(moa_row_bytes((moa_dtype)d, IN) * OUT);
        type->quantize(q, w, NULL, OUT * IN);
        for (int i = 0; i < 4; i++) {
            moa_tensor wt = moa_view2((moa_dtype)d, q, OUT, IN), xt = moa_view2(MOA_F32, x, rows[i], IN), *out = moa_linear(&e, &xt, &wt, NULL);
            assert_non_null(out);
            memcpy(y + *n, out->data, moa_tensor_bytes(out));
            *n += (size_t)rows[i] * OUT;
        }
        free(q);
    }
    moa_arena_free(e.arena);
    assert_true(*n > 0);
    float *copy = malloc(*n * sizeof *copy);
    memcpy(copy, y, *n * sizeof *copy);
    return copy;
}

static void test_same_bits(void **state) {
    (void)state;
    static moa_tuned t;
    worst(&t);
    size_t n, m;
    const moa_kernels *usual;
    assert_int_equal(moa_kernels_get(&usual, moa_isa_best(), NULL), 0);
    moa_kernels k = *usual;
    moa_tuned_apply(&k, &t);
    float *a = products(usual, &n), *b = products(&k, &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a), free(b);
}

/* A program that starts with such a file uses it, within --isa. */
static void test_at_start(void **state) {
    (void)state;
    static moa_machine m;
    moa_err err = {0};
    use_cache("start");
    m = real;
    worst(&m.tuned);
    assert_int_equal(moa_machine_save(&m, &err), 0);
    fflush(NULL);
    char self[4096];
    const ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(len > 0);
    self[len] = 0;
    for (int isa = 0; isa <= (int)moa_isa_best(); isa++) {
        char cmd[5000];
        snprintf(cmd, sizeof cmd, "MOA_ISA=%s '%s' table >'%s'", moa_isa_name((moa_isa)isa), self, scratch_path("table", ""));
        assert_int_equal(system(cmd), 0);
        char *text;
        assert_int_equal(moa_read_file(&text, NULL, scratch_path("table", ""), 1 << 16, &err), 0);
        assert_string_equal(text, "gemm_q8_q4_0_ref gemm_q8_q6_k_ref\n");
        free(text);
    }
}

static int rankings;
static void told(void *ctx, moa_kernel_op op, moa_dtype type, int class, const moa_kernel *const *rank, const double *seconds) {
    (void)ctx;
    assert_true(moa_kernel_by_rows(op) && class < MOA_ROW_CLASSES);
    const moa_kernel *usual = moa_kernel_usual(op, type, class);
    for (int i = 0; i < MOA_RANKS && rank[i]; i++) {
        assert_true(rank[i]->dtype == type && seconds[i] > 0);
        if (i) assert_true(seconds[i] * (rank[i] == usual ? 0.97 : 1) >= seconds[i - 1] * (rank[i - 1] == usual ? 0.97 : 1) - 1e-15);
    }
    rankings++;
}

static void test_tune(void **state) {
    (void)state;
    static moa_tuned t;
    moa_err err = {0};
    assert_int_equal(moa_tune(&t, told, NULL, &err), 0);
    assert_true(t.n == rankings && (t.n > 0) == (moa_isa_best() > MOA_ISA_REF));
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "table")) {
        const moa_kernels *k;
        if (moa_kernels_default(&k, NULL) < 0) return 1;
        printf("%s %s\n", k->gemm_q8[0][MOA_Q4_0]->name, k->gemm_q8[3][MOA_Q6_K]->name);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure), cmocka_unit_test(test_probes),        cmocka_unit_test(test_kept),      cmocka_unit_test(test_not_trusted),
        cmocka_unit_test(test_no_place), cmocka_unit_test(test_limits_of_isa), cmocka_unit_test(test_same_bits), cmocka_unit_test(test_at_start),
        cmocka_unit_test(test_tune),
    };
    return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
