/* test_sha256.c - published vectors, any split of the input, the two block functions against each other.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void check(const char *text, size_t n, const char *hex, bool plain) {
    char got[MOA_SHA256_HEX];
    moa_sha256 s;
    moa_sha256_init(&s);
    s.plain = plain;
    moa_sha256_add(&s, text, n);
    moa_sha256_hex(got, &s);
    assert_string_equal(got, hex);
    moa_sha256_hex(got, &s); /* reading the sum changes nothing */
    assert_string_equal(got, hex);
}

/* FIPS 180-4 examples and NIST's CAVP: empty, one block, two blocks, a million. */
static void vectors(void **state) {
    (void)state;
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    for (int plain = 0; plain < 2; plain++) {
        check("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", plain);
        check("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", plain);
        check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", plain);
        check(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", plain);
    }
    free(million);
}

static void any_split_and_both_ways(void **state) {
    (void)state;
    static uint8_t data[5000];
    moa_rng r;
    moa_rng_seed(&r, 1);
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)moa_rng_u64(&r);
    for (int i = 0; i < 300; i++) {
        const size_t n = i < 200 ? (size_t)i : moa_rng_below(&r, sizeof data + 1); /* all paddings, then any length */
        moa_sha256 whole, parts;
        char a[MOA_SHA256_HEX], b[MOA_SHA256_HEX];
        moa_sha256_init(&whole);
        moa_sha256_init(&parts);
        whole.plain = true;
        moa_sha256_add(&whole, data, n);
        for (size_t at = 0; at < n;) {
            size_t k = moa_rng_below(&r, 200);
            if (k > n - at) k = n - at;
            moa_sha256_add(&parts, data + at, k);
            at += k;
        }
        moa_sha256_hex(a, &whole);
        moa_sha256_hex(b, &parts);
        assert_string_equal(a, b);
    }
}

static void parses(void **state) {
    (void)state;
    char out[MOA_SHA256_HEX];
    assert_true(moa_sha256_parse(out, "SHA256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015AD"));
    assert_string_equal(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_false(moa_sha256_parse(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a"));
    assert_false(moa_sha256_parse(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad0"));
    assert_false(moa_sha256_parse(out, "ga7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert_false(moa_sha256_parse(out, ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(vectors), cmocka_unit_test(any_split_and_both_ways), cmocka_unit_test(parses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
