/* test_pull.c - repositories: the listing, the choice, whole pulls from a hub that is a local server; the models folder.
 * SPDX-License-Identifier: Apache-2.0 */
#include "fetch/support.h"

#include "fetch/pull.h"
#include "format/gguf.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static char hub[64];
static const char *commit = COMMIT; /* that the hub is at */

static int fresh(void **state) {
    commit = COMMIT;
    snprintf(hub, sizeof hub, "%s", httpd_url(server, ""));
    return setup(state);
}

/* ---- the listing ---- */

static int parse(moa_hub_repo *r, const char *json, moa_err *err) { return moa_hub_parse(r, json, strlen(json), "own/rep", err); }

static void listings(void **state) {
    (void)state;
    moa_hub_repo r;
    moa_err err;
    assert_int_equal(parse(&r, "{\"sha\":\"abc\",\"siblings\":[{\"rfilename\":\"b.gguf\",\"size\":7,\"lfs\":{\"size\":9,\"sha256\":"
                               "\"BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}},{\"rfilename\":\"a.json\",\"size\":3,\"lfs\":null},"
                               "{\"rfilename\":\"c.gguf\",\"lfs\":{\"oid\":\"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"}},"
                               "{\"rfilename\":\"../x.gguf\"},{\"rfilename\":\"/etc/passwd\"},{\"rfilename\":\"a\\nb\"},{\"rfilename\":\".gitattributes\"}]}",
                           &err), 0);
    assert_true(r.n_file == 3 && r.n_refused == 4);
    assert_string_equal(r.commit, "abc");
    assert_string_equal(r.file[0].path, "a.json");
    assert_true(r.file[0].size == 3 && !r.file[0].sha256[0]);
    assert_true(r.file[1].size == 9 && r.file[2].size == -1);
    assert_string_equal(r.file[1].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_string_equal(r.file[2].sha256, r.file[1].sha256);
    moa_hub_free(&r);
    static const char *const bad[] = {
        "", "[]", "{}", "{\"sha\":\"a\"}", "{\"siblings\":[]}", "{\"sha\":\"../x\",\"siblings\":[]}", "{\"sha\":7,\"siblings\":[]}", "{\"sha\":\"a\",\"siblings\":{}}",
        "{\"sha\":\"a\",\"siblings\":[7]}", "{\"sha\":\"a\",\"siblings\":[{}]}", "{\"sha\":\"a\",\"siblings\":[{\"rfilename\":7}]}",
        "{\"sha\":\"a\",\"siblings\":[{\"rfilename\":\"x\",\"size\":\"big\"}]}", "{\"sha\":\"a\",\"siblings\":[{\"rfilename\":\"x\"},{\"rfilename\":\"x\"}]}",
        "{\"sha\":\"a\",\"siblings\":[{\"rfilename\":\"x\",\"lfs\":{\"sha256\":1}}]}", "<html>"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (moa_err){0};
        if (parse(&r, bad[i], &err) != MOA_EFORMAT || !strstr(err.text, "own/rep")) fail_msg("%s: %s", bad[i], err.text);
        assert_null(r.file);
    }
}

/* A listing of these names, each of 10 bytes. */
static void list_of(moa_hub_repo *r, const char *const *name, int n) {
    char json[8192];
    size_t k = (size_t)snprintf(json, sizeof json, "{\"sha\":\"" COMMIT "\",\"siblings\":[");
    for (int i = 0; i < n; i++) k += (size_t)snprintf(json + k, sizeof json - k, "%s{\"rfilename\":\"%s\",\"size\":10}", i ? "," : "", name[i]);
    snprintf(json + k, sizeof json - k, "]}");
    assert_int_equal(parse(r, json, NULL), 0);
}

static void chosen(const moa_hub_repo *r, const char *what, const char *expected) {
    moa_hub_pick p;
    moa_err err = {0};
    char got[2048] = "";
    if (moa_hub_choose(&p, r, what, &err) < 0) snprintf(got, sizeof got, "%d %s", err.code, err.text);
    for (int i = 0; i < p.n_file; i++) snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", r->file[p.file[i]].path);
    if (*expected == '-' ? strncmp(got, expected, strlen(expected)) : strcmp(got, expected)) fail_msg("'%s': got '%s', expected '%s'", what, got, expected);
    free(p.file);
}

static void choices(void **state) {
    (void)state;
    moa_hub_repo r;
    static const char *const many[] = {"README.md", "m-Q4_K.gguf", "m-Q4_K_M.gguf", "m-Q4_K_M.imatrix.gguf", "m-UD-Q2_K.gguf", "m-Q2_K.gguf", "mmproj-m-f16.gguf", "m.Q8_0.gguf",
                                       "big/m-BF16-00001-of-00003.gguf", "big/m-BF16-00002-of-00003.gguf", "big/m-BF16-00003-of-00003.gguf",
                                       "m-F32-00001-of-00002.gguf", "config.json"};
    list_of(&r, many, 13);
    chosen(&r, "Q4_K_M", "m-Q4_K_M.gguf");
    chosen(&r, "q4_k", "m-Q4_K.gguf");
    chosen(&r, "UD-Q2_K", "m-UD-Q2_K.gguf");
    chosen(&r, "q8_0", "m.Q8_0.gguf");
    chosen(&r, "f16", "mmproj-m-f16.gguf");
    chosen(&r, "bf16", "big/m-BF16-00001-of-00003.gguf big/m-BF16-00002-of-00003.gguf big/m-BF16-00003-of-00003.gguf");
    chosen(&r, "m-BF16-00002-of-00003.gguf", "big/m-BF16-00001-of-00003.gguf big/m-BF16-00002-of-00003.gguf big/m-BF16-00003-of-00003.gguf");
    chosen(&r, "m-Q2_K.gguf", "m-Q2_K.gguf");
    chosen(&r, "config.json", "-9 config.json: no model by itself");
    chosen(&r, "*q4_k_m.gguf", "m-Q4_K_M.gguf"); /* patterns: of names and of paths */
    chosen(&r, "big/*", "big/m-BF16-00001-of-00003.gguf big/m-BF16-00002-of-00003.gguf big/m-BF16-00003-of-00003.gguf");
    chosen(&r, "*Q?_0*", "m.Q8_0.gguf");
    chosen(&r, "*Q?_K*", "-9 '*Q?_K*' fits several models");
    chosen(&r, "*Q5*", "-6 no file or tag '*Q5*'");
    chosen(&r, "Q2_K", "-9 'Q2_K' fits several models");
    chosen(&r, "", "-9 several models are there");
    chosen(&r, "Q5_K_M", "-6 no file or tag");
    chosen(&r, "Q4", "-6 no file or tag");
    chosen(&r, "F32", "-6 m-F32-00001-of-00002.gguf: part 2 of 2 is not");
    chosen(&r, "safetensors", "-6 the repository has neither");
    moa_hub_model *m;
    int n;
    assert_int_equal(moa_hub_models(&m, &n, &r, NULL), 0);
    assert_int_equal(n, 9);
    assert_string_equal(r.file[m[0].first].path, "big/m-BF16-00001-of-00003.gguf");
    assert_true(m[0].n_part == 3 && m[0].bytes == 30 && !m[0].extra);
    int extra = 0;
    for (int i = 0; i < n; i++) extra += m[i].extra;
    assert_int_equal(extra, 2);
    free(m);
    moa_hub_free(&r);

    static const char *const one[] = {"m-q4.gguf", "mmproj.gguf", "model.safetensors", "config.json"};
    list_of(&r, one, 4);
    chosen(&r, "", "m-q4.gguf");
    chosen(&r, "safetensors", "config.json model.safetensors");
    moa_hub_free(&r);

    static const char *const other[] = {"m_Q4_K_M.gguf", "m_q8_0.gguf"}; /* names that are all '_' */
    list_of(&r, other, 2);
    chosen(&r, "Q4_K_M", "m_Q4_K_M.gguf");
    chosen(&r, "Q8_0", "m_q8_0.gguf");
    chosen(&r, "Q4_K", "-6 no file or tag");
    moa_hub_free(&r);

    static const char *const dir[] = {"config.json", "consolidated.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.fp16.safetensors",
                                      "model.safetensors.index.json", "merges.txt", "notes.txt", "onnx/model.safetensors", "onnx/config.json", "pytorch_model.bin",
                                      "chat_template.jinja", "tokenizer.model", "setup.py"};
    list_of(&r, dir, 14);
    chosen(&r, "", "chat_template.jinja config.json merges.txt model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json tokenizer.model");
    moa_hub_free(&r);
    static const char *const adapter[] = {"adapter_config.json", "adapter_model.safetensors"};
    list_of(&r, adapter, 2);
    chosen(&r, "", "adapter_config.json adapter_model.safetensors");
    moa_hub_free(&r);
    static const char *const none[] = {"pytorch_model.bin", "config.json"};
    list_of(&r, none, 2);
    chosen(&r, "", "-6 the repository has neither a GGUF");
    moa_hub_free(&r);
    list_of(&r, none, 0);
    chosen(&r, "", "-6 ");
    moa_hub_free(&r);
}

/* ---- pulls ---- */

/* A hub: files are listed with sizes and checksums, and served through a redirect to another host, as hubs do. */
static void put_repo(const char *const *name, int n, int64_t size, bool sums) {
    httpd_route *api = httpd_add(server, "/api/models/own/rep/revision/main", 0, 0);
    size_t k = (size_t)snprintf(api->text, sizeof api->text, "{\"sha\":\"%s\",\"siblings\":[", commit);
    for (int i = 0; i < n; i++) {
        char path[256], sum[65];
        snprintf(path, sizeof path, "/own/rep/resolve/%s/%s", commit, name[i]);
        httpd_route *a = httpd_add(server, path, 0, 0);
        snprintf(path, sizeof path, "/storage/%d", i);
        httpd_route *b = httpd_add(server, path, (uint64_t)i + 1, size);
        httpd_fail(a, HTTPD_REDIRECT, 0, -1);
        snprintf(a->to, sizeof a->to, "%s", httpd_other_url(server, path));
        httpd_sha256(sum, b->seed, size);
        k += (size_t)snprintf(api->text + k, sizeof api->text - k, "%s{\"rfilename\":\"%s\",\"size\":%lld", i ? "," : "", name[i], (long long)size);
        if (sums) k += (size_t)snprintf(api->text + k, sizeof api->text - k, ",\"lfs\":{\"sha256\":\"%s\",\"size\":%lld}", sum, (long long)size);
        k += (size_t)snprintf(api->text + k, sizeof api->text - k, "}");
    }
    snprintf(api->text + k, sizeof api->text - k, "]}");
}

static int pull(moa_pulled *out, const char *what, moa_pull_cfg cfg, moa_err *err) {
    moa_ref ref;
    const moa_pull_cfg d = moa_pull_defaults();
    cfg.folder = folder, cfg.endpoint = hub, cfg.backoff_s = 0.001, cfg.connect_s = d.connect_s, cfg.stall_s = 5;
    assert_int_equal(moa_ref_parse(&ref, what, hub, err), 0);
    return moa_pull(out, &ref, &cfg, err);
}

static void pulled(moa_pulled *out, const char *what, moa_pull_cfg cfg) {
    moa_err err = {0};
    if (pull(out, what, cfg, &err) < 0) fail_msg("%s: %s\n%s", what, err.text, err.hint);
}

static void one_file_of_a_hub(void **state) {
    (void)state;
    static const char *const name[] = {"m-Q4_0.gguf", "sub/m-Q8_0.gguf"};
    moa_pulled p;
    moa_origin o;
    moa_err err = {0};
    put_repo(name, 2, 5000, true);
    pulled(&p, "hf:own/rep:q8_0", (moa_pull_cfg){.token = "tok"});
    assert_string_equal(p.name, "m-Q8_0");
    assert_string_equal(p.path, in_folder("m-Q8_0.gguf"));
    assert_string_equal(p.revision, COMMIT);
    assert_true(p.n_file == 1 && p.file[0].done.checked);
    holds(in_folder("m-Q8_0.gguf"), 2, 5000);
    /* The token went to the hub, not to where it keeps its files. */
    assert_int_equal(server->n_log, 3);
    assert_string_equal(server->log[0].auth, "Bearer tok");
    assert_string_equal(server->log[1].auth, "Bearer tok");
    assert_string_equal(server->log[2].auth, "");
    moa_pulled_free(&p);
    assert_int_equal(moa_origin_read(&o, folder, "m-Q8_0", NULL), 0);
    assert_string_equal(o.source, "hf:own/rep");
    assert_string_equal(o.revision, COMMIT);
    assert_int_equal(strlen(o.date), 20);
    const moa_origin_file *f = moa_origin_find(&o, "m-Q8_0.gguf");
    assert_non_null(f);
    assert_int_equal(f->size, 5000);
    assert_int_equal(strlen(f->sha256), 64);
    moa_origin_free(&o);
    /* Once more: the listing is asked for, the file is not. */
    atomic_store(&server->n_log, 0);
    pulled(&p, "hf:own/rep:q8_0", (moa_pull_cfg){0});
    assert_true(p.file[0].done.was_there && server->n_log == 1);
    moa_pulled_free(&p);
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){0}, &err), MOA_EUSAGE);
    assert_true(p.no_choice);
    assert_int_equal(pull(&p, "hf:own/none", (moa_pull_cfg){0}, &err), MOA_ENOTFOUND);
    assert_false(p.no_choice);
    /* Of another revision, whose name is one piece of the URL; files come from the commit that it stands for. */
    httpd_route *pr = httpd_add(server, "/api/models/own/rep/revision/refs%2Fpr%2F7", 0, 0);
    memcpy(pr->text, server->route[0].text, sizeof pr->text);
    pulled(&p, "hf:own/rep:*Q4_?.gguf@refs/pr/7", (moa_pull_cfg){.name = "pr"});
    assert_string_equal(p.revision, COMMIT);
    holds(in_folder("pr.gguf"), 1, 5000);
    moa_pulled_free(&p);
    /* Under another name, and a checksum that the user has from elsewhere. */
    char sum[65];
    httpd_sha256(sum, 1, 5000);
    pulled(&p, "hf:own/rep:Q4_0", (moa_pull_cfg){.name = "mine", .sha256 = sum});
    assert_string_equal(p.name, "mine");
    holds(in_folder("mine.gguf"), 1, 5000);
    moa_pulled_free(&p);
    assert_int_equal(pull(&p, "hf:own/rep:Q4_0", (moa_pull_cfg){.name = "mine2", .sha256 = "00"}, &err), MOA_EFORMAT);
    assert_int_equal(pull(&p, "hf:own/rep:Q4_0", (moa_pull_cfg){.name = "../mine"}, &err), MOA_EUSAGE);
}

/* The hub has a new commit: the file is replaced, since it came from there. One that came from elsewhere is not. */
static void a_new_commit(void **state) {
    (void)state;
    static const char *const name[] = {"m.gguf"};
    moa_pulled p;
    moa_err err = {0};
    put_repo(name, 1, 5000, true);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    moa_pulled_free(&p);
    httpd_clear(server);
    put_repo(name, 1, 6000, true);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    assert_false(p.file[0].done.was_there);
    moa_pulled_free(&p);
    holds(in_folder("m.gguf"), 1, 6000);
    httpd_add(server, "/m.gguf", 9, 7000);
    assert_int_equal(pull(&p, httpd_url(server, "/m.gguf"), (moa_pull_cfg){0}, &err), MOA_EIO);
    assert_non_null(strstr(err.hint, "--force"));
    holds(in_folder("m.gguf"), 1, 6000);
    pulled(&p, httpd_url(server, "/m.gguf"), (moa_pull_cfg){.replace = true});
    moa_pulled_free(&p);
    holds(in_folder("m.gguf"), 9, 7000);
    /* Again: the ETag that was noted spares the bytes. */
    pulled(&p, httpd_url(server, "/m.gguf"), (moa_pull_cfg){0});
    assert_true(p.file[0].done.was_there);
    assert_int_equal(strlen(p.file[0].done.sha256), 64);
    moa_pulled_free(&p);
    server->route[server->n_route - 1].seed = 10;
    snprintf(server->route[server->n_route - 1].etag, 128, "\"ten\"");
    pulled(&p, httpd_url(server, "/m.gguf"), (moa_pull_cfg){0});
    moa_pulled_free(&p);
    holds(in_folder("m.gguf"), 10, 7000);
}

static void all_parts(void **state) {
    (void)state;
    static const char *const name[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf"};
    moa_pulled p;
    moa_err err = {0};
    put_repo(name, 3, 4000, true);
    httpd_fail(&server->route[4], HTTPD_CUT, 1000, 1); /* in the second file */
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){0}, &err), MOA_EIO);
    holds(in_folder("m-00001-of-00003.gguf"), 1, 4000);
    assert_int_equal(file_size(in_folder(".pull/m-00002-of-00003.gguf.part")), 1000);
    atomic_store(&server->n_log, 0);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    assert_true(p.n_file == 3 && p.file[0].done.was_there && p.file[1].done.resumed_from == 1000);
    assert_int_equal(server->n_log, 5); /* the list, and two files with their redirects */
    assert_string_equal(p.name, "m");
    assert_string_equal(p.path, in_folder("m-00001-of-00003.gguf"));
    moa_pulled_free(&p);
    for (int i = 0; i < 3; i++) holds(in_folder(name[i]), (uint64_t)i + 1, 4000);
    /* From any server, by the name of any part. */
    httpd_clear(server);
    httpd_add(server, "/x/y/b-00001-of-00002.gguf", 1, 4000);
    httpd_add(server, "/x/y/b-00002-of-00002.gguf", 2, 4000);
    pulled(&p, httpd_url(server, "/x/y/b-00002-of-00002.gguf?sig=1"), (moa_pull_cfg){.name = "c"});
    assert_int_equal(p.n_file, 2);
    assert_non_null(strstr(server->log[0].line, "/x/y/b-00001-of-00002.gguf?sig=1"));
    assert_string_equal(p.file[0].url, httpd_url(server, "/x/y/b-00001-of-00002.gguf"));
    moa_pulled_free(&p);
    holds(in_folder("c-00002-of-00002.gguf"), 2, 4000);
    assert_int_equal(pull(&p, httpd_url(server, "/x/y/b-00002-of-00002.gguf"), (moa_pull_cfg){.sha256 = "0"}, &err), MOA_EUSAGE);
}

static void a_folder(void **state) {
    (void)state;
    static const char *const name[] = {"1_Pooling/config.json", "config.json", "model.safetensors", "pytorch_model.bin", "onnx/x.json"};
    moa_pulled p;
    moa_err err = {0};
    moa_store_files f;
    put_repo(name, 5, 3000, false);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){.name = "emb"});
    assert_int_equal(p.n_file, 3);
    assert_string_equal(p.path, in_folder("emb"));
    assert_int_equal(n_files(in_folder("emb")), 3);
    holds(in_folder("emb/1_Pooling/config.json"), 1, 3000);
    holds(in_folder("emb/config.json"), 2, 3000);
    holds(in_folder("emb/model.safetensors"), 3, 3000);
    moa_pulled_free(&p);
    assert_int_equal(moa_store_find(&f, folder, "emb", &err), 0);
    assert_int_equal(f.n_model, 3);
    assert_int_equal(moa_store_remove(&f, folder, "emb", &err), 0);
    moa_store_files_free(&f);
    assert_int_equal(n_files(folder), 0);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    assert_string_equal(p.path, in_folder("rep"));
    moa_pulled_free(&p);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0}); /* no checksums: the same commit and sizes are enough */
    for (int i = 0; i < 3; i++) assert_true(p.file[i].done.was_there);
    moa_pulled_free(&p);
    write_file(in_folder("other.gguf"), "GGUF", 4);
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){.name = "other"}, &err), MOA_EIO);
    assert_non_null(strstr(err.text, "same name"));
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){.name = ".."}, &err), MOA_EUSAGE);
}

/* Stops after so many files. */
static bool stops(void *ctx, const moa_fetch_event *e) {
    int *left = ctx;
    *left -= e->kind == MOA_FETCH_END;
    return *left >= 0;
}

static void pull_and_stop(int after) {
    moa_pulled p;
    moa_err err = {0};
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){.watch = {.fn = stops, .ctx = &after}}, &err), MOA_ECANCELED);
}

/* A pull that is stopped forgets nothing of what earlier ones noted, though small files have no checksum to know them by. */
static void stopped_between_files(void **state) {
    (void)state;
    static const char *const name[] = {"config.json", "model.safetensors", "tokenizer.json"};
    moa_pulled p;
    put_repo(name, 3, 3000, false);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    moa_pulled_free(&p);
    pull_and_stop(1);
    atomic_store(&server->n_log, 0);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    for (int i = 0; i < 3; i++) assert_true(p.file[i].done.was_there);
    assert_int_equal(server->n_log, 1);
    moa_pulled_free(&p);
    /* A new commit, stopped half-way: what is left of the old one is replaced, not taken for new because its size is the same. */
    httpd_clear(server);
    commit = "fedcba9876543210fedcba9876543210fedcba98";
    put_repo(name, 3, 3000, false);
    for (int i = 0; i < 3; i++) server->route[2 + 2 * i].seed = (uint64_t)i + 11, snprintf(server->route[2 + 2 * i].etag, 128, "\"n%d\"", i);
    pull_and_stop(1);
    holds(in_folder("rep/config.json"), 11, 3000);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    assert_true(p.file[0].done.was_there && p.file[1].done.was_there && !p.file[2].done.was_there);
    moa_pulled_free(&p);
    for (int i = 0; i < 3; i++) holds(in_folder((const char *[]){"rep/config.json", "rep/model.safetensors", "rep/tokenizer.json"}[i]), (uint64_t)i + 11, 3000);
}

/* Shards that a new commit has no more would be read with the new ones. What the user put there stays. */
static void a_commit_with_other_files(void **state) {
    (void)state;
    static const char *const before[] = {"config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"},
                             *const after[] = {"config.json", "model.safetensors"};
    moa_pulled p;
    moa_origin o;
    put_repo(before, 4, 3000, true);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    moa_pulled_free(&p);
    write_file(in_folder("rep/notes.txt"), "mine", 4);
    httpd_clear(server);
    commit = "fedcba9876543210fedcba9876543210fedcba98";
    put_repo(after, 2, 3000, true);
    pull_and_stop(0);
    assert_int_equal(n_files(in_folder("rep")), 5); /* the old ones stay until the new ones are whole */
    pulled(&p, "hf:own/rep", (moa_pull_cfg){0});
    moa_pulled_free(&p);
    assert_int_equal(n_files(in_folder("rep")), 3);
    assert_int_equal(file_size(in_folder("rep/notes.txt")), 4);
    assert_int_equal(file_size(in_folder("rep/model.safetensors.index.json")), -1);
    assert_int_equal(moa_origin_read(&o, folder, "rep", NULL), 0);
    assert_int_equal(o.n_file, 2);
    assert_string_equal(o.revision, commit);
    moa_origin_free(&o);
}

/* --force puts one repository in the place of another: what that one alone had goes, though the pull is stopped half-way and taken up. */
static void in_place_of_another(void **state) {
    (void)state;
    static const char *const before[] = {"config.json", "model.safetensors", "tokenizer.json"}, *const after[] = {"config.json", "model.safetensors", "tokenizer.model"};
    moa_pulled p;
    moa_err err = {0};
    put_repo(before, 3, 3000, true);
    pulled(&p, "hf:own/rep", (moa_pull_cfg){.name = "m"});
    moa_pulled_free(&p);
    write_file(in_folder("m/notes.txt"), "mine", 4);
    httpd_clear(server);
    put_repo(after, 3, 3000, false);
    for (int i = 0; i < server->n_route; i++) { /* own/rep -> own/oth */
        char *at = strstr(server->route[i].path, "own/rep");
        if (at) memcpy(at + 4, "oth", 3);
    }
    assert_int_equal(pull(&p, "hf:own/oth", (moa_pull_cfg){.name = "m"}, &err), MOA_EIO);
    assert_non_null(strstr(err.hint, "--force"));
    int left = 1;
    assert_int_equal(pull(&p, "hf:own/oth", (moa_pull_cfg){.name = "m", .replace = true, .watch = {.fn = stops, .ctx = &left}}, &err), MOA_ECANCELED);
    pulled(&p, "hf:own/oth", (moa_pull_cfg){.name = "m"}); /* that it may replace was said once */
    moa_pulled_free(&p);
    assert_int_equal(n_files(in_folder("m")), 4);
    assert_int_equal(file_size(in_folder("m/tokenizer.json")), -1);
    assert_int_equal(file_size(in_folder("m/notes.txt")), 4);
}

static void no_room_for_all(void **state) {
    (void)state;
    moa_pulled p;
    moa_err err = {0};
    httpd_route *api = httpd_add(server, "/api/models/own/rep/revision/main", 0, 0);
    snprintf(api->text, sizeof api->text, "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"m-00001-of-00002.gguf\",\"size\":5},"
                                          "{\"rfilename\":\"m-00002-of-00002.gguf\",\"size\":1000000000000000}]}");
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){0}, &err), MOA_EIO);
    assert_non_null(strstr(err.text, "needs 1000000000.0 MB"));
    assert_int_equal(server->n_log, 1); /* not a byte of the first file */
    snprintf(api->text, sizeof api->text, "{\"sha\":\"" COMMIT "\",\"siblings\":[{\"rfilename\":\"m-00001-of-00002.gguf\",\"size\":9000000000000000000},"
                                          "{\"rfilename\":\"m-00002-of-00002.gguf\",\"size\":9000000000000000000}]}");
    assert_true(pull(&p, "hf:own/rep", (moa_pull_cfg){0}, &err) < 0);
    snprintf(api->text, sizeof api->text, "<html>no</html>");
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){0}, &err), MOA_EFORMAT);
    httpd_fail(api, HTTPD_STATUS, 0, 1);
    api->status = 503;
    assert_int_equal(pull(&p, "hf:own/rep", (moa_pull_cfg){.retries = 1}, &err), MOA_EFORMAT); /* tried again */
}

/* ---- the models folder ---- */

static void write_model(const char *name) {
    moa_gguf_out *o = moa_gguf_out_new();
    static const float data[32];
    const moa_tensor t = moa_view1(MOA_F32, (void *)(uintptr_t)data, 32);
    assert_non_null(o);
    moa_gguf_put_str(o, "general.architecture", "llama", 5);
    moa_gguf_put_tensor(o, "w", &t);
    assert_int_equal(moa_gguf_write(o, in_folder(name), NULL), 0);
    moa_gguf_out_free(o);
}

static const moa_stored *row(const moa_stored *s, int n, const char *name, bool partial) {
    for (int i = 0; i < n; i++)
        if (!strcmp(s[i].name, name) && s[i].partial == partial) return &s[i];
    fail_msg("'%s' is not listed", name);
    return NULL;
}

static void lists(void **state) {
    (void)state;
    moa_stored *s;
    int n;
    assert_int_equal(moa_store_list(&s, &n, in_folder("absent"), NULL), 0);
    assert_int_equal(n, 0);
    write_model("a.gguf");
    write_model("b-00001-of-00002.gguf");
    write_model("b-00002-of-00002.gguf");
    write_model("c-00002-of-00002.gguf");
    write_file(in_folder("broken.gguf"), "GGUF", 4);
    write_file(in_folder("notes.txt"), "x", 1);
    mkdir(in_folder("dir"), 0700);
    mkdir(in_folder("empty"), 0700);
    write_file(in_folder("dir/config.json"), "{\"model_type\":\"qwen3\",\"torch_dtype\":\"bfloat16\"}", 47);
    write_file(in_folder("dir/model.safetensors"), "12345", 5);
    httpd_fail(httpd_add(server, "/p.gguf", 1, 5000), HTTPD_CUT, 1234, -1);
    moa_pulled p;
    assert_int_equal(pull(&p, httpd_url(server, "/p.gguf"), (moa_pull_cfg){0}, NULL), MOA_EIO);
    httpd_add(server, "/a.gguf", 1, 5000);
    moa_origin o = {.source = "hf:own/rep", .revision = COMMIT};
    assert_int_equal(moa_origin_write(&o, folder, "a", NULL), 0);
    assert_int_equal(moa_store_list(&s, &n, folder, NULL), 0);
    assert_int_equal(n, 6);
    const moa_stored *a = row(s, n, "a", false), *b = row(s, n, "b", false), *part = row(s, n, "p", true);
    assert_string_equal(a->type, "F32");
    assert_string_equal(a->arch, "llama");
    assert_string_equal(a->source, "hf:own/rep");
    assert_int_equal(a->bytes, file_size(in_folder("a.gguf")));
    assert_true(b->n_file == 2 && b->n_split == 2 && b->bytes == 2 * file_size(in_folder("b-00001-of-00002.gguf")));
    assert_string_equal(b->file, "b-00001-of-00002.gguf");
    assert_string_equal(row(s, n, "c", false)->problem, "1 of 2 parts are here");
    assert_true(row(s, n, "broken", false)->problem[0] != 0);
    assert_string_equal(row(s, n, "dir", false)->arch, "qwen3");
    assert_string_equal(row(s, n, "dir", false)->type, "BF16");
    assert_int_equal(row(s, n, "dir", false)->bytes, 52);
    assert_true(part->bytes == 1234 && part->total == 5000);
    assert_string_equal(part->source, httpd_url(server, "/p.gguf"));
    free(s);
}

static void removed(const char *name, int n_model) {
    moa_store_files f;
    moa_err err = {0};
    if (moa_store_find(&f, folder, name, &err) < 0 || moa_store_remove(&f, folder, name, &err) < 0) fail_msg("%s: %s", name, err.text);
    assert_int_equal(f.n_model, n_model);
    moa_store_files_free(&f);
}

static void removes(void **state) {
    (void)state;
    moa_store_files f;
    moa_err err = {0};
    moa_pulled p;
    httpd_add(server, "/a.gguf", 1, 5000);
    httpd_fail(httpd_add(server, "/p.gguf", 1, 5000), HTTPD_CUT, 1234, -1);
    pulled(&p, httpd_url(server, "/a.gguf"), (moa_pull_cfg){0});
    moa_pulled_free(&p);
    assert_int_equal(pull(&p, httpd_url(server, "/p.gguf"), (moa_pull_cfg){0}, NULL), MOA_EIO);
    write_model("a-b.gguf"); /* another model whose name begins alike */
    write_model("b-00001-of-00002.gguf");
    write_model("b-00002-of-00002.gguf");
    removed("a", 1);
    assert_int_equal(file_size(in_folder("a.gguf")), -1);
    assert_int_equal(file_size(in_folder(".pull/a.origin")), -1);
    assert_true(file_size(in_folder("a-b.gguf")) > 0);
    removed("b", 2);
    removed("p", 0);
    assert_int_equal(n_files(in_folder(".pull")), 0);
    assert_int_equal(n_files(folder), 1);
    assert_int_equal(moa_store_find(&f, folder, "a", &err), MOA_ENOTFOUND);
    static const char *const bad[] = {"", "..", ".", "../x", "/etc", ".pull", "a/b", "*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(moa_store_find(&f, folder, bad[i], &err), MOA_EUSAGE);

    /* Links: what they point to stays. */
    char outside[64];
    snprintf(outside, sizeof outside, "/tmp/moa-out-XXXXXX");
    assert_non_null(mkdtemp(outside));
    char precious[96];
    snprintf(precious, sizeof precious, "%s/x.gguf", outside);
    write_file(precious, "GGUF", 4);
    assert_int_equal(symlink(precious, in_folder("link.gguf")), 0);
    assert_int_equal(symlink(outside, in_folder("linkdir")), 0);
    removed("link", 1);
    assert_int_equal(moa_store_find(&f, folder, "linkdir", &err), MOA_ENOTFOUND);
    assert_int_equal(file_size(precious), 4);
    assert_int_equal(unlink(precious), 0);
    assert_int_equal(rmdir(outside), 0);

    /* A folder, and one with something in it that no pull made. */
    mkdir(in_folder("dir"), 0700);
    write_file(in_folder("dir/config.json"), "{}", 2);
    mkdir(in_folder("dir/sub"), 0700);
    assert_int_equal(moa_store_find(&f, folder, "dir", &err), MOA_EIO);
    assert_non_null(strstr(err.text, "dir/sub"));
    assert_int_equal(file_size(in_folder("dir/config.json")), 2);
    assert_int_equal(rmdir(in_folder("dir/sub")), 0);
    removed("dir", 1);
    assert_int_equal(access(in_folder("dir"), F_OK), -1);

    /* A folder beside a file of its name is another thing, unless it is a model too. */
    write_model("two.gguf");
    mkdir(in_folder("two"), 0700);
    write_file(in_folder("two/adapter_config.json"), "{}", 2);
    removed("two", 1);
    assert_int_equal(file_size(in_folder("two/adapter_config.json")), 2);
    assert_int_equal(file_size(in_folder("two.gguf")), -1);
    write_model("two.gguf");
    write_file(in_folder("two/config.json"), "{}", 2);
    removed("two", 3);
    assert_int_equal(access(in_folder("two"), F_OK), -1);
}

static void busy_parts_stay(void **state) {
    (void)state;
    moa_store_files f;
    moa_part part;
    moa_err err = {0};
    assert_int_equal(mkdir(in_folder(".pull"), 0700), 0);
    assert_int_equal(moa_part_open(&part, in_folder(".pull/m.gguf.part"), &err), 0);
    assert_int_equal(moa_part_add(&part, "GGUF", 4, &err), 0);
    assert_int_equal(moa_store_find(&f, folder, "m", &err), 0);
    assert_int_equal(moa_store_remove(&f, folder, "m", &err), MOA_EIO);
    assert_non_null(strstr(err.text, "at work"));
    assert_int_equal(file_size(in_folder(".pull/m.gguf.part")), 4);
    moa_part_close(&part);
    assert_int_equal(moa_store_remove(&f, folder, "m", &err), 0);
    moa_store_files_free(&f);
    assert_int_equal(file_size(in_folder(".pull/m.gguf.part")), -1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, fresh, teardown)
int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listings), cmocka_unit_test(choices), T(one_file_of_a_hub), T(a_new_commit), T(all_parts), T(a_folder),
        T(stopped_between_files), T(a_commit_with_other_files), T(in_place_of_another), T(no_room_for_all),
        T(lists), T(removes), T(busy_parts_stay),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
