/* main.c - the program: find the command, run it, return its exit code. Each command is one file (cmd_*.c) and one
 * line of commands.def; the list below, `moa --help` and the hint on a mistyped name all read that table.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include "base/nearest.h"
#include "base/utf8.h"

#include <signal.h>
#include <fcntl.h>
#include <string.h>

static void help(FILE *f) {
    int n;
    const moa_command *const *c = moa_commands(&n);
    fprintf(f, "moa %s - run, tune and measure mixtures of language models\n\n"
               "usage: moa COMMAND [OPTIONS] ...\n\ncommands:\n", MOA_VERSION);
    for (int i = 0; i < n; i++) fprintf(f, "  %-16s %s\n", c[i]->name, c[i]->help);
    fprintf(f, "\nmoa COMMAND --help tells the options of one command.\n"
               "start here:  moa run \"What is 17 + 25?\"\n");
}

static int unknown(const char *name) {
    int n;
    const moa_command *const *c = moa_commands(&n);
    const char *names[64] = {0};
    for (int i = 0; i < n && i < 64; i++) names[i] = c[i]->name;
    const char *near = moa_nearest(name, names, n < 64 ? n : 64);
    char shown[200];
    snprintf(shown, sizeof shown, "%s", name);
    moa_utf8_tame(shown, false);
    fprintf(stderr, "moa: unknown command '%s'\n", shown);
    if (*name == '-') fprintf(stderr, "  hint: options come after the command, as in: moa run %s ...\n", shown);
    else if (near) fprintf(stderr, "  hint: did you mean 'moa %s'?\n", near);
    fprintf(stderr, "  moa --help lists all commands\n");
    return 2;
}

/* Whoever closed one of the first three (>&-) must not find a journal or a model under its number: what is printed would be written into
 * it. They are opened the wrong way round, so that to use them still fails. */
static void hold_standard_files(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0) return;
}

int main(int argc, char **argv) {
    hold_standard_files();
    moa_cli_polite_threads(argv);
    moa_cli_watch_files();
    signal(SIGXFSZ, SIG_IGN); /* a file beyond the size limit is an error to report, not a signal to die of */
    if (argc < 2) return help(stderr), 2;
    const char *name = argv[1];
    if (!strcmp(name, "--version") || !strcmp(name, "version")) return printf("moa %s\n", MOA_VERSION), 0;
    if (!strcmp(name, "--help") || !strcmp(name, "-h")) return help(stdout), 0;
    bool about = !strcmp(name, "help");
    if (about && argc < 3) return help(stdout), 0;
    if (about) name = argv[2];
    int n;
    const moa_command *const *c = moa_commands(&n);
    for (int i = 0; i < n; i++)
        if (!strcmp(c[i]->name, name)) {
            if (about) return moa_cli_help(c[i], stdout), 0;
            int rc = c[i]->run(argc - 1, argv + 1);
            /* A full disk or a closed pipe must not look like success. */
            if ((fflush(stdout) != 0 || ferror(stdout)) && rc == 0) {
                fprintf(stderr, "moa: standard output could not be written, so what it holds is not whole\n");
                rc = 1;
            }
            return rc;
        }
    return unknown(name);
}
