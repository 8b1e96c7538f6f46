/* utf8.h - reading UTF-8 that nobody promised to be valid: JSON, templates, SVG and streamed tokens.
 * Valid is what RFC 3629 says: no overlong form, no surrogate, at most U+10FFFF. A bad byte counts as
 * one replacement character, so every input has a length and a well-formed output.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_UTF8_H
#define MOA_BASE_UTF8_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

enum { MOA_UTF8_BAD = 0xFFFD };

/* Bytes (1..4) of the character at s, which has n > 0 bytes left; *cp its code point. A byte that starts
 * no valid character gives 1 and U+FFFD (a genuine U+FFFD gives 3). */
int moa_utf8_next(uint32_t *cp, const char *s, size_t n);
size_t moa_utf8_count(const char *s, size_t n); /* characters, bad bytes counting one each */
/* Append one code point; an invalid one becomes U+FFFD. */
int moa_utf8_add(moa_buf *b, uint32_t cp);
/* Append text with every bad byte replaced by U+FFFD. */
int moa_utf8_add_clean(moa_buf *b, const char *s, size_t n);

/* Text of files, servers and users that goes to a terminal: what could steer one becomes '?', in place. Line breaks
 * and tabs stay if `lines`; C1 controls are U+0080 to U+009F, in UTF-8 C2 80 to C2 9F. */
void moa_utf8_tame(char *s, bool lines);

/* No control characters (U+0000 to 1F, 7F to 9F): text that may go to a terminal as it is. */
bool moa_utf8_plain(const char *s, size_t n);

/* Length of the longest prefix that does not end inside a character that later bytes could still complete:
 * what a stream may send now. At most 3 bytes are held back, and never bytes that are bad already. */
size_t moa_utf8_ready(const char *s, size_t n);

#endif
