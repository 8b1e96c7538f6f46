/* fault.c - SIGBUS: a mapped file that lost its end, or whose disk cannot be read. The weights of a model are read where the
 * file is mapped, by any thread at any time, so there is no call that could fail: the program says which file it was and ends with 1.
 * A fault elsewhere is a fault of the program and keeps its usual end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/file.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

static void say(const char *s) { (void)!write(STDERR_FILENO, s, strlen(s)); }

static void on_fault(int sig, siginfo_t *info, void *context) {
    const char *path = moa_map_name(info->si_addr);
    (void)context;
    if (!path) { /* the instruction runs again and ends as it would have */
        signal(sig, SIG_DFL);
        return;
    }
    if (isatty(STDERR_FILENO)) say("\x1b[?25h\x1b[0m\n");
    say("moa: ");
    for (const char *p = path; *p; p++) /* a name cannot steer the terminal */
        if ((unsigned char)*p >= 0x20 && *p != 0x7f) (void)!write(STDERR_FILENO, p, 1);
    say(": cannot be read any more: the file was made shorter or written over while it was in use, or its disk failed\n"
        "  hint: replace a model by renaming the new file over the old one, which leaves running programs theirs\n");
    _exit(1);
}

void moa_cli_watch_files(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_sigaction = on_fault;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &a, NULL);
}
