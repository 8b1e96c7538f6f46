/* cmd_replay.c - moa replay: requests of a server's journal, or a trace, decided anew from what the models said then.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/replay.h"
#include "agent/trace.h"
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 256 << 20, O_ID = 0, O_QUIET };
static const moa_opt opts[] = {
    {"--id", NULL, MOA_OPT_STR, "ID", "this request alone (req-...)", 0, 0},
    {"--quiet", "-q", MOA_OPT_FLAG, NULL, "only those that differ", 0, 0},
    MOA_ROWS_END,
};

static int run(int argc, char **argv);
const moa_command moa_command_replay = {
    .name = "replay",
    .usage = "[--id ID] FILE",
    .help = "run requests of a journal again, from what the models said",
    .more = "FILE: what moa serve --journal wrote, or one trace (GET /v1/traces/ID). Everything but the models works anew; what comes out must be the same,\n"
            "byte for byte but for times. Exit code 1: something differs, and the first place is shown.",
    .opts = opts,
    .run = run,
};

typedef struct tally { int n, equal, redacted; moa_buf newer; } tally; /* newer: settings that the journal does not know */

static int replay_one(tally *t, const char *id, const json_t *trace, const char *where, bool quiet, moa_err *err) {
    json_t *again, *was = json_deep_copy(trace);
    char place[200], a[200], b[200];
    if (json_is_true(json_object_get(trace, "redacted"))) {
        t->redacted++;
        json_decref(was);
        return 0;
    }
    if (was) moa_replay_complete(&t->newer, was);
    const int rc = was ? moa_replay(&again, was, where, err) : moa_fail(err, MOA_ENOMEM, "%s", where);
    if (rc < 0) {
        json_decref(was);
        return rc;
    }
    moa_trace_canonical(was);
    const bool differs = moa_replay_compare(place, sizeof place, a, b, sizeof a, was, again) != 0;
    t->n++;
    t->equal += !differs;
    char name[100];
    snprintf(name, sizeof name, "%.99s", id);
    moa_utf8_tame(name, false);
    moa_utf8_tame(place, false);
    moa_utf8_tame(a, false);
    moa_utf8_tame(b, false);
    if (differs) printf("%s differs at %s\n  was  %s\n  is   %s\n", name, place, a, b);
    else if (!quiet) printf("%s equal: %zu nodes\n", name, json_array_size(json_object_get(trace, "nodes")));
    json_decref(again);
    json_decref(was);
    return 0;
}

static int replay_line(tally *t, const json_t *line, const char *where, const char *only, bool quiet, moa_err *err) {
    const char *kind = json_string_value(json_object_get(line, "moa")), *id = json_string_value(json_object_get(line, "id"));
    const json_t *trace = kind ? json_object_get(line, "trace") : line;
    const bool bare = !kind && json_object_get(line, "nodes") && json_object_get(line, "mix");
    if (!bare && (!kind || strcmp(kind, "end"))) return 0; /* a call, or a request that begins */
    if (only && (!id || strcmp(id, only))) return 0;
    return replay_one(t, id ? id : where, trace, where, quiet, err);
}

/* Line by line, since journals grow; without a last line that was not finished: its writer was killed, or is at it. A trace that cannot be run is
 * told, and those behind it are looked at all the same. */
static int replay_file(tally *t, const char *path, const char *only, bool quiet, moa_err *err) {
    char *line = NULL, where[4200];
    size_t cap = 0, number = 0;
    ssize_t n;
    int rc = 0;
    FILE *f = fopen(path, "r");
    if (!f) return moa_fail(err, MOA_EIO, "%s: %s", path, strerror(errno));
    while (rc >= 0 && (n = getline(&line, &cap, f)) > 0) {
        json_t *v;
        number++;
        const bool whole = line[n - 1] == '\n';
        if (line[strspn(line, " \t\r\n")] == 0) continue;
        snprintf(where, sizeof where, "%s:%zu", path, number);
        rc = moa_json_parse(&v, line, (size_t)n, MAX_LINE, where, err);
        if (rc < 0 && !whole && number > 1) {
            rc = 0;
            break;
        }
        if (rc < 0) break;
        moa_err e = {0};
        if (replay_line(t, v, where, only, quiet, &e) < 0) {
            t->n++;
            printf("cannot be replayed: %s\n", e.text);
        }
        json_decref(v);
    }
    if (rc >= 0 && ferror(f)) rc = moa_fail(err, MOA_EIO, "%s: %s", path, strerror(errno));
    free(line);
    fclose(f);
    return rc;
}

static int run(int argc, char **argv) {
    moa_optval v[sizeof opts / sizeof *opts];
    const char *pos[1];
    int n_pos, rc = moa_opt_parse(&moa_command_replay, argc, argv, v, pos, 1, &n_pos);
    if (rc) return rc < 0 ? 2 : 0;
    if (!n_pos) return moa_cli_usage(&moa_command_replay, "FILE is missing");
    moa_err err = {0};
    tally t = {0};
    moa_buf_init(&t.newer, 1 << 16);
    rc = replay_file(&t, pos[0], v[O_ID].s, v[O_QUIET].set, &err);
    if (rc >= 0 && !t.n && t.redacted) rc = moa_fail(&err, MOA_EFORMAT, "%s: its texts were left out (--journal-redact): there is nothing to replay", pos[0]);
    else if (rc >= 0 && !t.n) rc = moa_fail(&err, MOA_ENOTFOUND, v[O_ID].set ? "%s: no ended request %s" : "%s: no request has ended in it%s", pos[0], v[O_ID].set ? v[O_ID].s : "");
    if (rc >= 0 && t.newer.len) fprintf(stderr, "moa: settings that are newer than %s have their defaults: %s\n", pos[0], moa_buf_str(&t.newer));
    moa_buf_deinit(&t.newer);
    if (rc < 0) return moa_cli_fail(&err);
    if (!v[O_QUIET].set || t.equal < t.n) printf("%d of %d equal\n", t.equal, t.n);
    return t.equal < t.n;
}
