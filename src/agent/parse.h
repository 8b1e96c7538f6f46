/* parse.h - what judges say, read out of free text. Replies are hostile input: each function is total, reads any bytes in one pass, and answers
 * with what it found or with nothing. What was asked for stands behind a label at the beginning of a line ("Score: 7"); the last such line
 * counts, since a model may think aloud before it. Marks of emphasis and lists around the label are passed over.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_PARSE_H
#define MOA_AGENT_PARSE_H

#include <stdbool.h>
#include <stddef.h>

/* What stands behind the last line's "LABEL:" (case does not count), trimmed. */
bool moa_parse_label(const char **value, size_t *len, const char *s, size_t n, const char *label);
/* "Score: 7", "Score: 7.5 / 10"; a reply that is a number and nothing else will do. Outside of 0..top it is no score. */
bool moa_parse_score(double *out, const char *s, size_t n, double top);
/* "Choice: 2, 5": numbers of 1..n_cand, as 0.., each once, in their order; *strange: something else stood among them. Returns how many went to
 * out [n_cand]. A reply of numbers and nothing else will do. */
int moa_parse_choice(int *out, bool *strange, const char *s, size_t n, int n_cand);
/* "End: yes" or "End: no". */
bool moa_parse_yes(bool *out, const char *s, size_t n, const char *label);
/* "Better: B": one of `letters`, as its place. A reply of that letter and nothing else will do. */
bool moa_parse_letter(int *out, const char *s, size_t n, const char *label, const char *letters);
/* "3: text" or "3. text": what stands behind the number at the beginning of a line, for 1..n; NULL where there is none. The first line of a number
 * counts. Returns how many were found. */
int moa_parse_lines(const char **text, size_t *len, int n_line, const char *s, size_t n);

#endif
