/* sha256.h - SHA-256 (FIPS 180-4) of a stream: the checksum that model files are published with. The state is plain
 * data. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_SHA256_H
#define MOA_BASE_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MOA_SHA256_HEX = 65 }; /* 64 lower-case digits and a 0 */

typedef struct moa_sha256 {
    uint32_t h[8];
    uint64_t n;      /* bytes so far */
    uint8_t tail[64]; /* the n % 64 bytes that fill no block yet */
    bool plain;      /* for tests: never the CPU's SHA instructions */
} moa_sha256;

void moa_sha256_init(moa_sha256 *s);
void moa_sha256_add(moa_sha256 *s, const void *p, size_t n);
void moa_sha256_hex(char out[MOA_SHA256_HEX], const moa_sha256 *s); /* s may go on afterwards */

/* Exactly 64 hex digits, as people paste them (either case, "sha256:" before them) -> lower case. False: it is something else. */
bool moa_sha256_parse(char out[MOA_SHA256_HEX], const char *text);

#endif
