/* test_plot.c - charts: well-formed whatever the data, equal text for equal data, readable ticks.
 * With MOA_PLOT_OUT=<folder> the charts are written there, to be looked at.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/plot.h"

#include "base/file.h"
#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof *(a))

/* Every tag closed in order, attributes quoted, only the five known entities: enough of XML for our output. */
static void assert_wellformed(const char *s) {
    char stack[16][16];
    int depth = 0;
    while (*s) {
        if (*s == '&') {
            assert_true(!strncmp(s, "&amp;", 5) || !strncmp(s, "&lt;", 4) || !strncmp(s, "&gt;", 4) || !strncmp(s, "&quot;", 6));
            s++;
            continue;
        }
        assert_true(*s == '\n' || (unsigned char)*s >= 0x20);
        if (*s++ != '<') continue;
        int closing = *s == '/';
        if (closing) s++;
        size_t n = strcspn(s, " />");
        assert_true(n > 0 && n < 16);
        if (closing) {
            assert_true(depth > 0 && strlen(stack[--depth]) == n && !memcmp(stack[depth], s, n));
        } else {
            assert_true(depth < 16);
            memcpy(stack[depth], s, n);
            stack[depth++][n] = 0;
        }
        for (int quote = 0; *s && (quote || *s != '>'); s++)
            if (*s == '"') quote = !quote;
            else assert_false(quote && *s == '<');
        assert_int_equal(*s, '>');
        if (s[-1] == '/') depth--;
    }
    assert_int_equal(depth, 0);
}

static char *draw(const moa_plot *p, const char *name) {
    moa_buf b;
    moa_buf_init(&b, 4 << 20);
    assert_int_equal(moa_plot_svg(&b, p), 0);
    const char *dir = getenv("MOA_PLOT_OUT");
    if (dir) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s.svg", dir, name);
        moa_writer *w;
        assert_int_equal(moa_writer_open(&w, path, NULL), 0);
        moa_writer_add(w, b.data, b.len);
        assert_int_equal(moa_writer_commit(w, NULL), 0);
    }
    char *s = moa_buf_take(&b);
    assert_non_null(s);
    assert_wellformed(s);
    assert_null(strstr(s, "nan"));
    assert_null(strstr(s, "inf\""));
    return s;
}

static void loss_curve(void **state) {
    (void)state;
    enum { STEPS = 600 };
    static moa_plot_point raw[STEPS], smooth[STEPS], held[STEPS];
    moa_rng r;
    moa_rng_seed(&r, 1);
    double mean = 4.2;
    for (int i = 0; i < STEPS; i++) {
        double v = 0.6 + 3.6 * exp(-i / 90.0) + 0.12 * moa_rng_normal(&r);
        mean += 0.08 * (v - mean);
        raw[i] = (moa_plot_point){.x = i, .y = v};
        smooth[i] = (moa_plot_point){.x = i, .y = mean};
        held[i] = (moa_plot_point){.x = i, .y = i % 100 == 99 ? mean + 0.05 : NAN};
    }
    const moa_plot_series s[] = {{.point = raw, .n_point = STEPS, .no_marker = true, .faint = true},
                                 {.name = "training", .point = smooth, .n_point = STEPS, .no_marker = true},
                                 {.name = "held out", .point = held, .n_point = STEPS}};
    const moa_plot p = {.title = "Loss of the 1.2 M model", .x_label = "step", .y_label = "nats a token", .series = s, .n_series = 3};
    char *a = draw(&p, "loss"), *b = draw(&p, "loss");
    assert_string_equal(a, b);
    assert_non_null(strstr(a, ">training</text>"));
    assert_non_null(strstr(a, ">500</text>"));
    free(a), free(b);
    const moa_plot q = {.title = "The same, log-log", .x_label = "step", .y_label = "nats a token", .series = s, .n_series = 3, .log_x = true, .log_y = true};
    a = draw(&q, "loss-log");
    assert_non_null(strstr(a, ">200</text>"));
    free(a);
}

static void accuracy(void **state) {
    (void)state;
    const moa_plot_point one[] = {{.x = 1, .y = .412, .lo = .37, .hi = .455}, {.x = 2, .y = .44, .lo = .40, .hi = .48}, {.x = 4, .y = .475, .lo = .43, .hi = .52}, {.x = 8, .y = .49, .lo = .45, .hi = .53}, {.x = 16, .y = .493, .lo = .45, .hi = .535}};
    const moa_plot_point two[] = {{.x = 1, .y = .41, .lo = .37, .hi = .45}, {.x = 2, .y = .41, .lo = .37, .hi = .45}, {.x = 4, .y = .53, .lo = .49, .hi = .57}, {.x = 8, .y = .58, .lo = .54, .hi = .62}, {.x = 16, .y = .61, .lo = .57, .hi = .65}};
    const moa_plot_series s[] = {{.name = "Self-MoA", .point = one, .n_point = N(one)}, {.name = "majority vote", .point = two, .n_point = N(two)}};
    const moa_plot p = {.title = "Accuracy against the number of samples", .x_label = "samples n", .y_label = "accuracy", .series = s, .n_series = 2, .log_x = true};
    char *a = draw(&p, "accuracy");
    assert_non_null(strstr(a, ">0.50</text>"));
    assert_non_null(strstr(a, ">16</text>"));
    free(a);
}

static void scatter(void **state) {
    (void)state;
    const char *const names[] = {"base, T 0.2", "base, T 0.7", "base, T 1.0", "tuned & <merged>", "mixed 3", "mixed 6", "tüned 東京", "x"};
    moa_plot_point pt[8];
    for (int i = 0; i < 8; i++) pt[i] = (moa_plot_point){.x = 20000 + 3000 * (i % 3) + 40 * i, .y = 61 + 0.35 * i, .label = names[i]};
    const moa_plot_series s[] = {{.name = "configurations", .point = pt, .n_point = 4, .no_line = true}, {.name = "mixtures", .point = pt + 4, .n_point = 4, .no_line = true}};
    const moa_plot p = {.title = "Quality against diversity", .x_label = "diversity", .y_label = "quality", .series = s, .n_series = 2};
    char *a = draw(&p, "scatter");
    assert_non_null(strstr(a, "tuned &amp; &lt;merged&gt;"));
    assert_non_null(strstr(a, "k</text>"));
    free(a);
}

static void many_series(void **state) {
    (void)state;
    static moa_plot_point pt[11][8];
    static char names[11][32];
    moa_plot_series s[11];
    for (int i = 0; i < 11; i++) {
        for (int k = 0; k < 8; k++) pt[i][k] = (moa_plot_point){.x = pow(10, k - 3), .y = pow(10, 0.5 * k + 0.3 * i)};
        snprintf(names[i], sizeof names[i], "series number %d", i);
        s[i] = (moa_plot_series){.name = names[i], .point = pt[i], .n_point = 8};
    }
    char *a = draw(&(moa_plot){.title = "Eleven series", .x_label = "x", .y_label = "y", .series = s, .n_series = 11, .log_x = true, .log_y = true}, "many");
    assert_non_null(strstr(a, "stroke-dasharray"));
    free(a);
}

static void hostile_data(void **state) {
    (void)state;
    const double bad[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 0, -0.0, 5e-324, 1e-300, 1, -1, 1e100, -1e100, 1e-100, 1e15, 1 + 1e-15};
    moa_plot_point pt[3];
    free(draw(&(moa_plot){0}, "empty"));
    for (size_t i = 0; i < N(bad); i++)
        for (size_t k = 0; k < N(bad); k++)
            for (int log = 0; log < 4; log++) {
                for (int j = 0; j < 3; j++)
                    pt[j] = (moa_plot_point){.x = j == 1 ? bad[k] : bad[i], .y = j == 1 ? bad[i] : bad[k], .lo = bad[k], .hi = bad[i], .label = "a\x01\xff<&\">"};
                const moa_plot_series s = {.name = "s", .point = pt, .n_point = (size_t)(i % 4)};
                const moa_plot p = {.title = "\xc3", .series = &s, .n_series = 1, .log_x = log & 1, .log_y = log & 2, .x_min = bad[i], .x_max = bad[k]};
                free(draw(&p, "hostile"));
            }
}

static void sizes_and_limits(void **state) {
    (void)state;
    moa_buf b;
    moa_buf_init(&b, 1 << 20);
    assert_int_equal(moa_plot_svg(&b, &(moa_plot){.width = 100}), MOA_EINVAL);
    assert_int_equal(moa_plot_svg(&b, &(moa_plot){.height = 20000}), MOA_EINVAL);
    assert_int_equal(b.len, 0);
    moa_buf_deinit(&b);
    moa_buf_init(&b, 200);
    assert_int_equal(moa_plot_svg(&b, &(moa_plot){0}), MOA_ELIMIT);
    moa_buf_deinit(&b);
    free(draw(&(moa_plot){.width = 240, .height = 160, .title = "small", .x_label = "x", .y_label = "y"}, "small"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loss_curve),  cmocka_unit_test(accuracy),     cmocka_unit_test(scatter),
        cmocka_unit_test(many_series), cmocka_unit_test(hostile_data), cmocka_unit_test(sizes_and_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
