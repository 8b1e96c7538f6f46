/* interrupt.c - Ctrl-C: the first asks running work to stop, the second ends the program. Ctrl-Z: the shell gets its cursor back.
 * No SA_RESTART, so that reading a line from the terminal comes back too.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/live.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t flag;

static void on_signal(int sig) {
    if (flag++ == 0) return;
    static const char show[] = "\x1b[?25h\x1b[0m\n";
    if (isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, show, sizeof show - 1);
    _exit(128 + sig);
}

/* Stops as it would have without us: by the default action, which the kernel leaves out where nobody could continue the program. */
static void on_stop(int sig) {
    static const char show[] = "\x1b[?25h";
    const int was = errno;
    struct sigaction plain, ours;
    memset(&plain, 0, sizeof plain);
    plain.sa_handler = SIG_DFL;
    if (isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, show, sizeof show - 1);
    sigaction(sig, &plain, &ours);
    raise(sig); /* SA_NODEFER: it is not held back */
    sigaction(sig, &ours, NULL);
    errno = was;
}

void moa_interrupt_catch(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    a.sa_handler = on_stop;
    a.sa_flags = SA_RESTART | SA_NODEFER;
    sigaction(SIGTSTP, &a, NULL);
}

bool moa_interrupted(void) { return flag != 0; }
void moa_interrupt_clear(void) { flag = 0; }
