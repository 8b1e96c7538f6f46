/* live.h - what is seen while a mix works: on a terminal a pane with one row a call, redrawn in place; elsewhere one
 * line per finished call. All of it on stderr, with the line of what the replies say (moa_node_reply); the answer alone goes to
 * stdout.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_LIVE_H
#define MOA_CLI_LIVE_H

#include "agent/run.h"
#include "base/buf.h"

#include <stdio.h>

typedef struct moa_live moa_live;
typedef struct moa_live_cfg {
    bool quiet;          /* show nothing */
    bool stream_answer;  /* write the answer's text to stdout as it grows, where stdout is a terminal */
} moa_live_cfg;
moa_live *moa_live_new(const moa_live_cfg *cfg); /* NULL: no memory; the calls below take that */
bool moa_live_event(void *live, moa_run *r, const moa_event *e); /* a moa_event_cb; false after Ctrl-C */
/* Ends the pane, with the cursor back. True when the run's answer already stands on stdout, whole. */
bool moa_live_end(moa_live *l, const moa_run *r);
/* What went otherwise than planned in the calls of a run that worked: on a terminal all of it. Elsewhere the lines of the calls have said it
 * already, but for that of an answer whose text went to a terminal as it grew (stream_answer). */
void moa_live_notes(const moa_live_cfg *cfg, const moa_run *r);
void moa_live_free(moa_live *l);

/* One frame, for the pane and for tests: rows of at most `width` columns joined by '\n'. */
typedef struct moa_live_row { const char *name; int state; const char *tail; size_t n_tail; int64_t tokens /* -1: not a call */; double seconds; } moa_live_row;
typedef struct moa_live_style { bool color, utf8; int tick; } moa_live_style;
/* Columns used by each line go to used[height] (NULL: not wanted); returns the number of lines, at most height. */
int moa_live_frame(moa_buf *out, int *used, const moa_live_row *row, int n, int width, int height, moa_live_style style);

/* Text for a terminal: control characters other than newline and tab are dropped, so that a reply cannot steer it. */
void moa_term_write(FILE *f, const char *s, size_t n);
bool moa_term_color(FILE *f); /* a terminal that is not dumb, and NO_COLOR is not set */
int moa_term_width(void); /* of stderr; 80 where it is no terminal */
/* A line of stderr that is redrawn in place: cut where the terminal ends, since a wrapped one would stay. */
void moa_term_status(const char *line);

/* One line on stderr that replaces itself; only on a terminal. fmt NULL: takes it away. */
void moa_progress_line(bool quiet, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Ctrl-C sets a flag that running work looks at; pressed again it ends the program, with the terminal in order. */
void moa_interrupt_catch(void);
bool moa_interrupted(void);
void moa_interrupt_clear(void);

#endif
