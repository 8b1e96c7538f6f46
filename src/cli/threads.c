/* threads.c - threads of training that wait politely; those of inference do so by themselves (base/team.h).
 *
 * An OpenMP runtime lets threads that wait at a barrier spin, gcc's for milliseconds. Alone on a machine that is the fastest
 * way; beside other work the spinning threads take the very cores that the others need, and a step of a small model
 * becomes ten times slower (docs/performance.md). A short spin and then sleep costs little and never collapses. The runtime
 * reads its environment once, when the program is loaded, so the only portable way to set it is to start again.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <stdlib.h>
#include <unistd.h>

void moa_cli_polite_threads(char **argv) {
    /* The user's own settings win; the second round through here sees ours. */
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || getenv("KMP_BLOCKTIME")) return;
    if (setenv("GOMP_SPINCOUNT", "20000", 1) < 0 || setenv("KMP_BLOCKTIME", "0", 1) < 0) return;
    /* By its path: started as /proc/self/exe it would be called "exe" by ps, top and pkill. */
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    execv(path, argv); /* returns only where it cannot: go on as we are */
}
