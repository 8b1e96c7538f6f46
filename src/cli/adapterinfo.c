/* adapterinfo.c - see adapterinfo.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/adapterinfo.h"

#include "adapt/adapt.h"
#include "base/err.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

static int64_t n_weights(const moa_adapter *a) {
    int64_t n = 0;
    for (int i = 0; i < a->n; i++) n += a->lora[i].rank * (a->lora[i].n_in + a->lora[i].n_out);
    for (int i = 0; i < a->n_whole; i++) n += moa_tensor_count(&a->whole[i].w);
    return n;
}

static int show_json(const moa_adapter *a, moa_err *err) {
    moa_buf b;
    moa_buf_init(&b, 1u << 28);
    moa_buf_adds(&b, "{\"path\":");
    moa_json_add_str(&b, a->path, strlen(a->path));
    moa_buf_addf(&b, ",\"adapter\":\"%s\",\"architecture\":", moa_adapter_form_name(a->form));
    moa_json_add_str(&b, a->arch, strlen(a->arch));
    moa_buf_adds(&b, ",\"base\":");
    moa_json_add_str(&b, a->base, strlen(a->base));
    moa_buf_addf(&b, ",\"weights\":%lld,\"matrices\":[", (long long)n_weights(a));
    for (int i = 0; i < a->n; i++) {
        const moa_lora *l = &a->lora[i];
        moa_buf_adds(&b, i ? ",{\"name\":" : "{\"name\":");
        moa_json_add_str(&b, l->name, strlen(l->name));
        if (l->expert >= 0) moa_buf_addf(&b, ",\"expert\":%d", l->expert);
        moa_buf_addf(&b, ",\"shape\":[%lld,%lld],\"rank\":%d,\"scale\":%.9g,\"bias\":%s,\"dora\":%s}", (long long)l->n_out, (long long)l->n_in, l->rank,
                     (double)l->scale, l->bias ? "true" : "false", l->magnitude ? "true" : "false");
    }
    moa_buf_adds(&b, "],\"replaced\":[");
    for (int i = 0; i < a->n_whole; i++) {
        const moa_tensor *w = &a->whole[i].w;
        moa_buf_adds(&b, i ? ",{\"name\":" : "{\"name\":");
        moa_json_add_str(&b, a->whole[i].name, strlen(a->whole[i].name));
        moa_buf_addf(&b, ",\"type\":\"%s\",\"shape\":[", moa_type_get(w->dtype)->name);
        if (w->n_dim > 1) moa_buf_addf(&b, "%lld,", (long long)w->shape[0]);
        moa_buf_addf(&b, "%lld]}", (long long)moa_cols(w));
    }
    moa_buf_adds(&b, "]}");
    const int rc = b.failed ? moa_fail(err, b.failed, "%s: the listing is too long", a->path) : 0;
    if (rc >= 0) puts(moa_buf_str(&b));
    moa_buf_deinit(&b);
    return rc;
}

static void show_text(const moa_adapter *a, bool all) {
    enum { SOME = 12 };
    printf("%s\n  LoRA adapter (%s), %d matrices, %lld weights\n", a->path, moa_adapter_form_name(a->form), a->n, (long long)n_weights(a));
    if (*a->arch) printf("  for architecture %.100s\n", a->arch);
    if (*a->base) printf("  made for %.200s\n", a->base);
    for (int i = 0; i < a->n && (all || i < SOME); i++) {
        const moa_lora *l = &a->lora[i];
        char expert[32] = "";
        if (l->expert >= 0) snprintf(expert, sizeof expert, " expert %d", l->expert);
        printf("  %s%s  [%lld, %lld], rank %d, scale %g%s%s\n", l->name, expert, (long long)l->n_out, (long long)l->n_in, l->rank, (double)l->scale,
               l->bias ? ", bias" : "", l->magnitude ? ", DoRA" : "");
    }
    for (int i = 0; i < a->n_whole && (all || i < SOME); i++)
        printf("  %s  %s, %lld weights, in place of the base's\n", a->whole[i].name, moa_type_get(a->whole[i].w.dtype)->name,
               (long long)moa_tensor_count(&a->whole[i].w));
    const int more = (a->n > SOME ? a->n - SOME : 0) + (a->n_whole > SOME ? a->n_whole - SOME : 0);
    if (!all && more) printf("  ... and %d more: --tensors lists them\n", more);
}

int moa_cli_adapter_info(const char *path, bool json, bool all, moa_err *err) {
    moa_adapter *a;
    MOA_TRY(moa_adapter_open(&a, path, err));
    int rc = 0;
    if (json) rc = show_json(a, err);
    else show_text(a, all);
    moa_adapter_close(a);
    return rc;
}
