/* test_embed_program.c - moa embed as a script uses it: a line or an object of numbers, of length 1, the same by every way that a text
 * comes in; what is wrong is said before numbers are.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "support/program.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIM = 64 };

/* Lines of stdout as vectors; fails where a line has another count of numbers or another length than 1. */
static int vectors(double v[][DIM], int max) {
    int n = 0;
    for (char *p = out, *end; *p; p = end + 1, n++) {
        assert_true(n < max);
        double square = 0;
        for (int i = 0; i < DIM; i++) {
            v[n][i] = strtod(p, &end);
            if (end == p || *end != (i + 1 < DIM ? ' ' : '\n')) fail_msg("line %d: number %d of %d is followed by %d", n + 1, i + 1, DIM, *end);
            square += v[n][i] * v[n][i];
            p = end + 1;
        }
        assert_true(fabs(square - 1) < 1e-5);
    }
    return n;
}

static void test_lines(void **state) {
    (void)state;
    need_program();
    double a[4][DIM], b[4][DIM];
    moa_expect(0, "embed %M 'Tom has apples.' 'Anna sells pens.' 'Tom has apples.'");
    assert_string_equal(err_text, "");
    assert_int_equal(vectors(a, 4), 3);
    assert_memory_equal(a[0], a[2], sizeof a[0]);
    assert_memory_not_equal(a[0], a[1], sizeof a[0]);
    put_file("lines", "Tom has apples.\n\r\n\nAnna sells pens.\r\n"); /* lines without a text are none */
    moa_expect(0, "embed %M --file %D/lines");
    assert_int_equal(vectors(b, 4), 2);
    assert_memory_equal(a, b, 2 * sizeof a[0]); /* alone and in company, to the bit */
    moa_expect(0, "embed %M -f - <%D/lines");
    assert_int_equal(vectors(b, 4), 2);
    assert_memory_equal(a, b, 2 * sizeof a[0]);
    moa_expect(0, "embed %M 'Anna sells pens.' --file %D/lines"); /* arguments come first */
    assert_int_equal(vectors(b, 4), 3);
    assert_memory_equal(b[0], b[2], sizeof a[0]);
    moa_expect(0, "embed %F 'Tom has apples.' -t 2"); /* a folder does as well */
    assert_int_equal(vectors(b, 4), 1);
    assert_memory_equal(a[0], b[0], sizeof a[0]);
    moa_expect(0, "embed %M 'Tom has apples.' --isa ref");
    assert_int_equal(vectors(b, 4), 1);
    assert_memory_equal(a[0], b[0], sizeof a[0]);
    moa_expect(0, "embed %M 'Tom has apples.' --exact");
    assert_int_equal(vectors(b, 4), 1);
    double cosine = 0;
    for (int i = 0; i < DIM; i++) cosine += a[0][i] * b[0][i];
    assert_true(cosine > 0.98); /* near the reference, whose activations have more bits */
}

static void test_json(void **state) {
    (void)state;
    need_program();
    double v[2][DIM];
    moa_expect(0, "embed %M one 'two words'");
    assert_int_equal(vectors(v, 2), 2);
    moa_expect(0, "embed %M one 'two words' --json");
    json_t *j = parsed(), *data = json_object_get(j, "data");
    assert_string_equal(string(j, "model"), program_model());
    assert_int_equal(integer(j, "dimensions"), DIM);
    assert_string_equal(string(j, "pooling"), "last");
    assert_int_equal(json_array_size(data), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *d = json_array_get(data, i), *e = json_object_get(d, "embedding");
        assert_int_equal(integer(d, "index"), i);
        assert_true(integer(d, "tokens") > 0);
        assert_int_equal(json_array_size(e), DIM);
        for (size_t k = 0; k < DIM; k++) assert_true(fabs(json_real_value(json_array_get(e, k)) - v[i][k]) < 1e-7);
    }
    json_decref(j);
    moa_expect(0, "embed %M one --json --pooling mean");
    j = parsed();
    assert_string_equal(string(j, "pooling"), "mean");
    json_decref(j);
    /* The first numbers alone: the same direction, at length 1. */
    moa_expect(0, "embed %M one 'two words' --json --dimensions 5");
    j = parsed();
    assert_int_equal(integer(j, "dimensions"), 5);
    for (size_t i = 0; i < 2; i++) {
        const json_t *e = json_object_get(json_array_get(json_object_get(j, "data"), i), "embedding");
        double length = 0;
        assert_int_equal(json_array_size(e), 5);
        for (size_t k = 0; k < 5; k++) length += v[i][k] * v[i][k];
        for (size_t k = 0; k < 5; k++) assert_true(fabs(json_real_value(json_array_get(e, k)) - v[i][k] / sqrt(length)) < 1e-6);
    }
    json_decref(j);
}

/* As many texts as the shell hands over. */
static void test_many(void **state) {
    (void)state;
    need_program();
    moa_expect(0, "embed %M --dimensions 1 $(seq 1000)");
    int n = 0;
    for (const char *s = out; (s = strchr(s, '\n')); s++) n++;
    assert_int_equal(n, 1000);
}

static void test_wrong_use(void **state) {
    (void)state;
    need_program();
    char line[8000] = "";
    for (int i = 0; i < 1000; i++) strncat(line, "word ", sizeof line - strlen(line) - 1);
    put_file("long", line);
    put_file("empty", "\n\n");
    char third[8100];
    snprintf(third, sizeof third, "one\n\n%s\n", line);
    put_file("third", third);
    static const program_case cases[] = {
        {"embed", 2, "MODEL is missing"},
        {"embed %M", 2, "no text"},
        {"embed %M --file %D/empty", 2, "no text"},
        {"embed %M --file /nowhere.txt", 1, "/nowhere.txt"},
        {"embed %M x --pooling max", 2, "mean"},
        {"embed %M x --isa sse", 2, "avx2"},
        {"embed %M x -t 0", 2, "from 1 to 1024"},
        {"embed /nowhere.gguf x", 1, "/nowhere.gguf"},
        {"embed %M --file %D/long", 1, "512"},
        {"embed %M --file %D/third", 1, "third:3: has "}, /* lines that are none count */
        {"embed %M one \"$(cat %D/long)\" --file %D/third", 1, "text 2: has "},
        {"embed %M ''", 1, "text 1: has no token"},
        {"embed %M x --dimensions 0", 2, "--dimensions 0"},
        {"embed %M x --dimensions 9999", 2, "9999 dimensions, the model has"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    moa_expect(1, "embed %M x >/dev/full");
    assert_non_null(strstr(err_text, "not whole"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_json), cmocka_unit_test(test_many), cmocka_unit_test(test_wrong_use)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
