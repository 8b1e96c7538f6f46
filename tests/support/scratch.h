/* scratch.h - a temporary folder of a test program, and the Python scripts that fill it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_SCRATCH_H
#define MOA_TEST_SCRATCH_H

/* For cmocka_run_group_tests: makes the folder and takes it away. */
int scratch_setup(void **state);
int scratch_teardown(void **state);
const char *scratch_dir(void);
const char *scratch_path(const char *name, const char *ending); /* in the folder; good for the next few calls */

/* A python3 that has the module: the first in PATH, or Debian's, to which packages belong. NULL: none. */
const char *python_with(const char *module);
/* `python3 ARGS`, with numpy. Skips the test where there is none, fails it where the script does. */
void run_numpy(const char *args, ...) __attribute__((format(printf, 1, 2)));

#endif
