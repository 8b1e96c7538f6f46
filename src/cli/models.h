/* models.h - what moa pull, moa models and moa list models share.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_MODELS_H
#define MOA_CLI_MODELS_H

#include "fetch/event.h"

#include <stdio.h>

/* The folder that moa pull fills: $MOA_MODELS, else the user's data folder. */
int moa_cli_pull_dir(char out[4096], moa_err *err);
/* All models of all folders that are searched. */
int moa_cli_list_models(bool json, moa_err *err);

/* What is seen of a pull, on stderr: on a terminal one line redrawn in place, elsewhere a line now and then. */
typedef struct moa_pull_view {
    bool quiet, tty, utf8;
    int file;            /* that the line is about, -1: none yet */
    double last, from;   /* when it was drawn; when this file began */
    int64_t seen, begun; /* bytes at `last`; bytes at `from` */
    double rate;         /* bytes a second, smoothed */
    int step;            /* tenths that were told, where there is no terminal */
    int64_t done, total; /* newest known, for the message after Ctrl-C */
} moa_pull_view;
void moa_pull_view_init(moa_pull_view *v, bool quiet);
bool moa_pull_view_event(void *view, const moa_fetch_event *e); /* for moa_fetch_watch; false after Ctrl-C */
void moa_pull_view_end(moa_pull_view *v);                       /* the cursor stands at the beginning of a line */

/* One line of at most width columns; for the view and for tests. */
void moa_pull_line(char *out, size_t n, const moa_fetch_event *e, double rate, int width, bool utf8);
void moa_cli_bytes(char out[24], int64_t bytes); /* "1.25 GB"; "?" where negative */

#endif
