/* choose.c - which files of a repository make the model that was asked for (see hub.h): one GGUF, all parts of a split
 * one, or the safetensors folder with what stands beside the weights.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/hub.h"

#include "base/err.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Files beside a model that end in .gguf and are none: vision projectors, importance matrices. */
static bool is_extra(const char *path) {
    const char *name = base_name(path);
    return strcasestr(name, "mmproj") || strcasestr(name, "imatrix");
}

bool moa_hub_has_tag(const char *path, const char *tag) {
    const size_t n = strlen(tag);
    for (const char *at = path; n && (at = strcasestr(at, tag)); at++)
        if ((at == path || strchr("-./_", at[-1])) && (!at[n] || strchr("-./", at[n]))) return true; /* '_' behind is inside: Q4_K is not Q4_K_M */
    return false;
}

static bool fits(const char *path, const char *what) {
    if (!strpbrk(what, "*?")) return moa_hub_has_tag(path, what);
    return fnmatch(what, path, FNM_CASEFOLD) == 0 || fnmatch(what, base_name(path), FNM_CASEFOLD) == 0;
}

/* ---- GGUF ---- */

/* The file of part k of the split that file f is a part of; -1: it is not there. */
static int part(const moa_hub_repo *r, int f, int k) {
    const char *path = r->file[f].path;
    size_t stem;
    int i, n;
    char want[MOA_REF_PATH_MAX + 16];
    if (!moa_ref_split(path, &stem, &i, &n)) return -1;
    snprintf(want, sizeof want, "%.*s-%05d-of-%05d%s", (int)stem, path, k, n, path + strlen(path) - 5);
    for (int j = 0; j < r->n_file; j++)
        if (!strcmp(r->file[j].path, want)) return j;
    return -1;
}

int moa_hub_models(moa_hub_model **out, int *n, const moa_hub_repo *r, moa_err *err) {
    *n = 0;
    *out = calloc((size_t)(r->n_file ? r->n_file : 1), sizeof **out);
    if (!*out) return moa_fail(err, MOA_ENOMEM, "no memory for a list of models");
    for (int f = 0; f < r->n_file; f++) {
        const char *path = r->file[f].path;
        size_t stem;
        int i = 1, all = 1;
        if (!moa_ref_ends(path, ".gguf") || (moa_ref_split(path, &stem, &i, &all) && i != 1)) continue;
        moa_hub_model m = {.first = f, .n_part = all, .bytes = r->file[f].size, .extra = is_extra(path)};
        /* Files are sorted, so the parts of a split follow each other; a gap is found when it is chosen. */
        for (int k = 2, at = f + 1; k <= all && at < r->n_file && part(r, f, k) == at; k++, at++)
            m.bytes = m.bytes < 0 || r->file[at].size < 0 || m.bytes > INT64_MAX - r->file[at].size ? -1 : m.bytes + r->file[at].size;
        (*out)[(*n)++] = m;
    }
    return 0;
}

static int pick(moa_hub_pick *out, int n, moa_err *err) {
    out->n_file = 0;
    out->file = calloc((size_t)(n ? n : 1), sizeof *out->file);
    return out->file ? 0 : moa_fail(err, MOA_ENOMEM, "no memory for a list of files");
}

static int take_model(moa_hub_pick *out, const moa_hub_repo *r, int f, moa_err *err) {
    size_t stem;
    int i, n = 1;
    const bool split = moa_ref_split(r->file[f].path, &stem, &i, &n);
    if (n > r->n_file) return moa_fail(err, MOA_ENOTFOUND, "%s: names %d parts, and the repository has %d files", r->file[f].path, n, r->n_file);
    MOA_TRY(pick(out, n, err));
    for (int k = 1; k <= n; k++) {
        const int at = split ? part(r, f, k) : f;
        if (at < 0) return moa_fail(err, MOA_ENOTFOUND, "%s: part %d of %d is not in the repository", r->file[f].path, k, n);
        out->file[out->n_file++] = at;
    }
    return 0;
}

/* ---- a folder of safetensors ---- */

/* "model.safetensors" or "model-00001-of-00003.safetensors": beside it may stand the same weights again in another form. */
static bool is_usual(const char *name) {
    if (strncmp(name, "model", 5) || !moa_ref_ends(name, ".safetensors")) return false;
    const char *s = name + 5;
    if (*s == '.') return !strcmp(s, ".safetensors");
    for (int i = 0; i < 2; i++) {
        const char *lead = i ? "-of-" : "-";
        if (strncmp(s, lead, strlen(lead))) return false;
        s += strlen(lead);
        if (!isdigit((unsigned char)*s)) return false;
        while (isdigit((unsigned char)*s)) s++;
    }
    return !strcmp(s, ".safetensors");
}

/* What stands beside the weights: configuration, tokenizer, chat template; of embedding models how they pool. */
static bool is_beside(const char *name) {
    if (strchr(name, '/')) return !strcmp(name, "1_Pooling/config.json");
    static const char *const NAMES[] = {"tokenizer.model", "spiece.model", "merges.txt", "vocab.txt"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!strcmp(name, NAMES[i])) return true;
    return moa_ref_ends(name, ".json") || moa_ref_ends(name, ".jinja");
}

static int take_folder(moa_hub_pick *out, const moa_hub_repo *r, moa_err *err) {
    bool usual = false;
    int n = 0, n_weights = 0;
    for (int f = 0; f < r->n_file; f++) usual = usual || is_usual(r->file[f].path);
    MOA_TRY(pick(out, r->n_file, err));
    for (int f = 0; f < r->n_file; f++) {
        const char *path = r->file[f].path;
        const bool weights = !strchr(path, '/') && (usual ? is_usual(path) : moa_ref_ends(path, ".safetensors"));
        if (!weights && !is_beside(path)) continue;
        n_weights += weights;
        out->file[n++] = f;
    }
    out->n_file = n;
    out->folder = true;
    if (n_weights) return 0;
    moa_fail(err, MOA_ENOTFOUND, "the repository has neither a GGUF file nor safetensors");
    return moa_hint(err, MOA_ENOTFOUND, "moa reads GGUF and safetensors; other formats (.bin, .pth) can run code when they are read and are not taken");
}

/* ---- the choice ---- */

static int several(const moa_hub_repo *r, const moa_hub_model *m, int a, int b, const char *what, moa_err *err) {
    moa_fail(err, MOA_EUSAGE, "%s%s%s: '%s', '%s' ...", *what ? "'" : "", *what ? what : "several models are there", *what ? "' fits several models" : "",
             r->file[m[a].first].path, r->file[m[b].first].path);
    return moa_hint(err, MOA_EUSAGE, "name one: hf:OWNER/REPO:TAG, such as Q4_K_M, or hf:OWNER/REPO:FILE");
}

/* The only model among m that fits: by its tag or a pattern, or any. Extras count only where nothing else fits. -1: none. */
static int only(const moa_hub_repo *r, const moa_hub_model *m, int n, const char *what, moa_err *err) {
    for (int extra = 0; extra < 2; extra++) {
        int found = -1;
        for (int i = 0; i < n; i++) {
            if (m[i].extra != (extra == 1) || (*what && !fits(r->file[m[i].first].path, what))) continue;
            if (found >= 0) return several(r, m, found, i, what, err);
            found = i;
        }
        if (found >= 0) return m[found].first;
    }
    return MOA_ENOTFOUND;
}

static int by_name(const moa_hub_repo *r, const char *what) {
    for (int f = 0; f < r->n_file; f++)
        if (!strcmp(r->file[f].path, what)) return f;
    for (int f = 0; f < r->n_file; f++)
        if (!strcmp(base_name(r->file[f].path), what)) return f;
    return -1;
}

static int choose(moa_hub_pick *out, const moa_hub_repo *r, const char *what, moa_err *err) {
    const int file = *what ? by_name(r, what) : -1;
    if (file >= 0 && moa_ref_ends(r->file[file].path, ".gguf")) return take_model(out, r, file, err);
    if (file >= 0) {
        moa_fail(err, MOA_EUSAGE, "%s: no model by itself", r->file[file].path);
        return moa_hint(err, MOA_EUSAGE, "a GGUF file is fetched alone, safetensors with what belongs to them: hf:OWNER/REPO:safetensors");
    }
    if (!strcasecmp(what, "safetensors")) return take_folder(out, r, err);
    moa_hub_model *m;
    int n;
    MOA_TRY(moa_hub_models(&m, &n, r, err));
    moa_err own = {0};
    const int f = only(r, m, n, what, &own);
    free(m);
    if (f >= 0) return take_model(out, r, f, err);
    if (f == MOA_EUSAGE) {
        if (err) *err = own;
        return f;
    }
    if (!*what) return take_folder(out, r, err); /* no GGUF at all */
    moa_fail(err, MOA_ENOTFOUND, "no file or tag '%s' in the repository", what);
    return moa_hint(err, MOA_ENOTFOUND, n ? "moa pull --list shows what is there" : "the repository has no GGUF file; without ':' its safetensors folder is taken");
}

int moa_hub_choose(moa_hub_pick *out, const moa_hub_repo *r, const char *what, moa_err *err) {
    *out = (moa_hub_pick){0};
    const int rc = choose(out, r, what, err);
    if (rc >= 0) return 0;
    free(out->file);
    *out = (moa_hub_pick){0};
    return rc;
}
