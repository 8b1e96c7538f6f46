/* models.c - GET /v1/models: every id that can be asked; GET /v1/models/ID. endpoints.def: ENDPOINT(models), ENDPOINT(model)
 * SPDX-License-Identifier: Apache-2.0 */
#include "serve/endpoint.h"
#include "serve/catalog.h"
#include "serve/server.h"

static json_t *describe(const moa_catalog *c, const moa_catalog_row *r) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s*, s:s}", "id", r->id, "object", "model", "created", (json_int_t)c->made, "owned_by", "moa", "description", r->help,
                     "mix", r->spec, "base", r->model);
}

static void handle_all(moa_exchange *x) {
    const moa_catalog *c = x->catalog;
    json_t *list = json_array();
    for (int i = 0; i < c->n_row; i++) json_array_append_new(list, describe(c, &c->row[i]));
    moa_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

static void handle_one(moa_exchange *x) {
    const moa_catalog_row *r = moa_catalog_row_of(x->catalog, x->rest);
    moa_fault f;
    if (r) {
        moa_reply_json(x, 200, describe(x->catalog, r));
        return;
    }
    moa_fault_set(&f, 404, "model_not_found", "model", "no model '%.100s'; GET /v1/models lists what there is", x->rest);
    moa_reply_fault(x, &f);
}

const moa_endpoint moa_endpoint_models = {.name = "models", .help = "ids that can be asked", .method = "GET", .path = "/models", .quick = true, .handle = handle_all};
const moa_endpoint moa_endpoint_model = {.name = "model", .help = "one of them", .method = "GET", .path = "/models/", .quick = true, .handle = handle_one};
