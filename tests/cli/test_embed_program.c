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
    moa_expect(0, "embed %M 'Tom has apples.' --exact --isa ref");
    assert_int_equal(vectors(b, 4), 1);
    double cosine = 0;
    for (int i = 0; i < DIM; i++) cosine += a[0][i] * b[0][i];
    assert_true(cosine > 0.98 && memcmp(a[0], b[0], sizeof a[0]) != 0); /* near the reference, whose activations have more bits */
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
}

static void test_wrong_use(void **state) {
    (void)state;
    need_program();
    char line[8000] = "";
    for (int i = 0; i < 1000; i++) strncat(line, "word ", sizeof line - strlen(line) - 1);
    put_file("long", line);
    put_file("empty", "\n\n");
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
        {"embed %M ''", 1, "no token"},
    };
    moa_expect_errors(cases, sizeof cases / sizeof *cases);
    moa_expect(1, "embed %M x >/dev/full");
    assert_non_null(strstr(err_text, "not whole"));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lines), cmocka_unit_test(test_json), cmocka_unit_test(test_wrong_use)};
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
