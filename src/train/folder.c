/* folder.c - the run folder: one run at a time, nothing thrown away unasked, no rubbish left by a run that was killed; and what
 * a run will need hours later is looked at before its first step.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "base/file.h"
#include "train/trainer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

void moa_output_path(char *path, size_t n, const moa_trainer *t) {
    if (t->r->output.path) snprintf(path, n, "%s", t->r->output.path);
    else snprintf(path, n, "%s/%s.gguf", t->dir, t->r->name);
}

/* Two runs in one folder would take turns in overwriting each other's checkpoints. The lock lies on the folder itself and goes with
 * the process, however that ends. Where a filesystem has no locks, nobody is kept out. */
static int lock(moa_trainer *t, moa_err *err) {
    t->lock = open(t->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (t->lock < 0 || flock(t->lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return 0;
    moa_fail(err, MOA_EUSAGE, "%s: another run is at work in this folder", t->dir);
    return moa_hint(err, MOA_EUSAGE, "wait for its end, or give this one a folder of its own with --out");
}

/* FILE.tmp.PID (base/file.c), FILE of a kind that a run writes. */
static bool is_leftover(const char *name) {
    static const char *const ours[] = {".moa.tmp.", ".gguf.tmp.", ".svg.tmp."};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        const char *pid = strstr(name, ours[i]);
        if (!pid) continue;
        pid += strlen(ours[i]);
        if (*pid && !pid[strspn(pid, "0123456789")]) return true;
    }
    return false;
}

/* Nobody else is at work here, so whoever wrote them was killed. */
static void remove_leftovers(const char *dir) {
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_leftover(e->d_name)) continue;
        char path[2048];
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        unlink(path);
    }
    if (d) closedir(d);
}

/* An hour of training must not end with "no such folder". */
static int make_output_folder(const moa_trainer *t, moa_err *err) {
    char path[MOA_OUTPUT_PATH];
    struct stat st;
    moa_output_path(path, sizeof path, t);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return moa_fail(err, MOA_EIO, "%s: the finished model cannot be written there: not a file", path);
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) return 0;
    *slash = 0;
    MOA_TRY(moa_mkdirs(path, err));
    if (access(path, W_OK) == 0) return 0;
    return moa_fail(err, MOA_EIO, "%s: the finished model cannot be written there: %s", path, strerror(errno));
}

int moa_folder_open(moa_trainer *t, moa_err *err) {
    MOA_TRY(moa_mkdirs(t->dir, err));
    MOA_TRY(lock(t, err));
    remove_leftovers(t->dir);
    return make_output_folder(t, err);
}

/* ---- what lies there ---- */
static int finished(const moa_trainer *t, moa_err *err) {
    char path[MOA_OUTPUT_PATH];
    moa_output_path(path, sizeof path, t);
    if (access(path, F_OK) == 0) {
        snprintf(t->res->model_path, sizeof t->res->model_path, "%s", path);
        return 0;
    }
    moa_fail(err, MOA_EUSAGE, "%s holds the finished run of this recipe, but %s is not there", t->dir, path);
    return moa_hint(err, MOA_EUSAGE, "--resume writes the model again, --fresh trains it anew");
}

static int look_to_resume(moa_trainer *t, int rc, const moa_progress *p, const moa_err *why, const moa_err *passed_over, moa_err *err) {
    if (rc < 0) {
        if (err) *err = *why;
        return rc == MOA_ENOTFOUND ? moa_hint(err, rc, "leave out --resume to start this run") : rc;
    }
    MOA_TRY(moa_inputs_check(&t->in, t->r, t->dir, -1, err));
    if (passed_over->code) moa_trainer_say(t, MOA_TRAIN_WARN, "%s; going on from the checkpoint before it", passed_over->text);
    t->at = *p;
    return 0;
}

int moa_folder_look(bool *over, moa_trainer *t, moa_err *err) {
    moa_progress p;
    moa_err why = {0}, passed_over = {0};
    *over = false;
    int rc = moa_checkpoint_peek(&p, &t->in, t->dir, t->r, &why, &passed_over);
    if (t->cfg->resume) return look_to_resume(t, rc, &p, &why, &passed_over, err);
    if (t->cfg->fresh || rc == MOA_ENOTFOUND) return 0;
    if (rc < 0) { /* of another recipe or program, or damaged: not ours to remove unasked */
        if (err) *err = why;
        return rc;
    }
    if (p.stage < t->r->stages_count) {
        moa_fail(err, MOA_EUSAGE, "%s holds an unfinished run of this recipe (stage '%s', step %lld)", t->dir, t->r->stages[p.stage].name,
                 (long long)p.step);
        return moa_hint(err, MOA_EUSAGE, "--resume goes on with it, --fresh starts over");
    }
    MOA_TRY(moa_inputs_check(&t->in, t->r, t->dir, -1, err));
    *over = true;
    t->at = p;
    MOA_TRY(finished(t, err));
    moa_trainer_say(t, MOA_TRAIN_NOTE, "%s: this recipe is trained already, nothing to do; --fresh trains it anew, --resume only writes the model again",
                    t->dir);
    return 0;
}

void moa_folder_wipe(const moa_trainer *t) {
    moa_checkpoint_remove(t->dir);
    for (unsigned i = 0; i < t->r->stages_count; i++) {
        char path[1200];
        moa_samples_path(path, sizeof path, t->dir, t->r->stages[i].name);
        if (t->r->stages[i].kind == MOA_STAGE_SAMPLE) unlink(path);
    }
}

int moa_folder_sources(const moa_trainer *t, moa_err *err) {
    for (unsigned i = (unsigned)t->at.stage; i < t->r->stages_count; i++)
        for (unsigned j = 0; j < t->r->stages[i].data_count; j++) {
            const moa_recipe_data *d = &t->r->stages[i].data[j];
            const char *path = moa_recipe_source_path(d);
            if (path && access(path, R_OK) != 0)
                return moa_fail(err, errno == ENOENT ? MOA_ENOTFOUND : MOA_EIO, "%s:%d: stage '%s' will need %s: %s", t->r->path, d->line,
                                t->r->stages[i].name, path, strerror(errno));
        }
    return 0;
}
