/* config.h - moa.yaml: which models are served, and which mixes of them. Errors name file and line.
 *
 *     models:
 *       - {id: small, file: small-q4, ctx: 8192}
 *       - {id: large, file: large-q4, kv: f16}
 *     backends:
 *       - {id: cloud, url: https://api.example.com/v1, model: big-1, key_env: EXAMPLE_KEY, max_concurrent: 4}
 *     mixes:
 *       - {id: council, mix: "moa:layers=1", proposers: [small, large], aggregator: large, about: two heads}
 *     housekeeping: small
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_CONFIG_H
#define MOA_SERVE_CONFIG_H

#include "base/err.h"

#include <stdbool.h>

typedef struct moa_config_model {
    char *id;                 /* NULL: the file's name */
    char *file;               /* as after -m */
    char **adapters; unsigned adapters_count;
    int ctx, threads;
    char *kv, *repack, *draft;
    char *chat_template_kwargs; /* JSON */
} moa_config_model;

typedef struct moa_config_backend {
    char *id, *url;
    char *model;              /* its name there; NULL: id */
    char *key_env;            /* variable of the environment that holds the key */
    int ctx, max_concurrent, retries, requests_per_minute, tokens_per_minute;
    double timeout, timeout_connect, timeout_first, timeout_whole; /* seconds */
    double price_prompt, price_completion; /* dollars per million tokens */
    double hedge;             /* share of the calls that may be asked twice */
    int breaker; double cooldown;
    char *tools;              /* native, or words */
    bool images;              /* it reads them */
} moa_config_backend;

typedef struct moa_config_mix {
    char *id, *about;
    char *mix;                /* text form, as after --mix */
    char **proposers; unsigned proposers_count;
    char *aggregator;
    char *propose_system, *aggregate_system; /* messages of the roles, behind the conversation's own */
} moa_config_mix;

typedef struct moa_config {
    moa_config_model *models; unsigned models_count;
    moa_config_backend *backends; unsigned backends_count;
    moa_config_mix *mixes; unsigned mixes_count;
    char *housekeeping;       /* id that answers what chat programs ask for themselves (titles, tags); NULL: the mix's own model */
} moa_config;

enum { MOA_CONFIG_BYTES_MAX = 1 << 20 };
int moa_config_parse(moa_config **out, const char *text, size_t n, const char *name, moa_err *err);
int moa_config_load(moa_config **out, const char *path, moa_err *err);
void moa_config_free(moa_config *c);

#endif
