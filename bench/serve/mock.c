/* mock.c - the scripted server of tests/support/mock.h as a program: mock SCRIPT [PORT [SEED]]. Prints its port and runs until it is ended; GET /mock
 * tells its counts. SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "support/mock.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char *script;
    size_t n;
    mock *m;
    moa_err err = {0};
    sigset_t ends;
    int sig;
    if (argc < 2) {
        fprintf(stderr, "usage: %s SCRIPT [PORT [SEED]]\n", argv[0]);
        return 2;
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    if (moa_read_file(&script, &n, argv[1], 64 << 20, &err) < 0 ||
        mock_start(&m, script, argc > 3 ? strtoull(argv[3], NULL, 10) : 1, argc > 2 ? (int)strtol(argv[2], NULL, 10) : 0, &err) < 0) {
        fprintf(stderr, "%s: %s\n", argv[0], err.text);
        return 1;
    }
    printf("%d\n", mock_port(m));
    fflush(stdout);
    sigwait(&ends, &sig);
    mock_stop(m);
    free(script);
    return 0;
}
