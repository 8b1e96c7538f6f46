/* program.h - the built program as a script calls it: $MOA with arguments, its exit code, what it wrote. One temporary folder and
 * one small model a test program; both go away at its end.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_PROGRAM_H
#define MOA_TEST_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

extern char program_dir[64];                 /* the folder */
extern char out[1 << 20], err_text[1 << 16]; /* of the last call: stdout, stderr */

/* For cmocka_run_group_tests. Models are looked for nowhere ($MOA_MODELS is empty); a test may set it. */
int program_setup(void **state);
int program_teardown(void **state);
const char *program_model(void); /* path of a small model that babbles (tinymodel.h), made on first use */
const char *program_folder(void);  /* the same model as a Hugging Face folder */
const char *program_lora(void);    /* an adapter of it, a PEFT folder */
void need_program(void);         /* skips the test where $MOA is no program */

/* Runs `$MOA ARGS` by the shell, on one thread, and returns its exit code. In ARGS, %M stands for the small model, %F for
 * it as a folder, %A for its adapter and %D for the folder of the tests. Standard input is empty unless ARGS redirect it. */
int moa(const char *args);
int moaf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void moa_expect(int rc, const char *args); /* fails the test, with what was said, where the exit code is another */

int moa_limited(int kib, const char *args); /* moa(), where no file may grow beyond so many KiB: a full disk */

/* A call that is interrupted. moa_begin starts it with a terminal as standard error that is stopped (Ctrl-S), so that it waits at the
 * first line of progress that it shows. moa_interrupt presses Ctrl-C once the program listens to it, lets the terminal go on and waits
 * for the end: the exit code, with out and err_text as after moa(). One at a time. */
void moa_begin(const char *args);
int moa_interrupt(void);

/* A wrong use or a failure: its exit code, a part of what stderr says, nothing on stdout. */
typedef struct program_case { const char *args; int rc; const char *says; } program_case;
void moa_expect_errors(const program_case *cases, int n);

int files_like(const char *pattern);        /* how many of the folder have such a name (glob) */
bool same_bytes(const char *a, const char *b); /* of two files, which must be there */
const char *path_of(const char *name);      /* of a file in the folder; good for the next few calls */
void put_file(const char *name, const char *text);
void slurp(char *text, int n, const char *path); /* "" where it cannot be read */

/* Parts of JSON; what is missing or of another type fails the test. parsed: stdout of the last call. */
json_t *parsed(void);
long long integer(const json_t *o, const char *key);
double number(const json_t *o, const char *key);
const char *string(const json_t *o, const char *key);

#endif
