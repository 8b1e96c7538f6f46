/* llmc_files.c - input for bench/llmc.sh: a model file and token files as llm.c's CPU trainer reads them, in any shape, and a
 * text for moa. Formats: llm.c's train_gpt2.c (model: 256 int32 of header, f32 parameters) and llmc/dataloader.h (tokens: 256
 * int32 of header, uint16 each). Weights are random with gains of 1, so that numbers stay in a normal range.
 *   llmc_files FOLDER LAYERS D HEADS VOCAB T
 * SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252ull;
static double uniform(void) { /* xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}

static FILE *create(const char *folder, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f) {
        perror(path);
        exit(1);
    }
    return f;
}

static void done(FILE *f) {
    if (ferror(f) || fclose(f) != 0) {
        perror("cannot write");
        exit(1);
    }
}

static void random_f32(FILE *f, long n, float mean, float dev) {
    for (long i = 0; i < n; i++) {
        float v = mean + dev * (float)(2 * uniform() - 1);
        fwrite(&v, sizeof v, 1, f);
    }
}

static void write_model(const char *folder, int n_layer, int d, int n_head, int n_vocab, int n_ctx) {
    int32_t head[256] = {20240326, 3, n_ctx, n_vocab, n_layer, n_head, d, (n_vocab + 127) / 128 * 128};
    const long L = n_layer, C = d;
    FILE *f = create(folder, "gpt2_124M.bin");
    fwrite(head, sizeof head, 1, f);
    random_f32(f, head[7] * C + n_ctx * C, 0, 0.03f); /* token and position embeddings */
    random_f32(f, L * C, 1, 0);                       /* first norm: gain, then bias */
    random_f32(f, L * C, 0, 0);
    random_f32(f, L * (3 * C * C + 3 * C + C * C + C), 0, 0.03f); /* attention */
    random_f32(f, L * C, 1, 0);
    random_f32(f, L * C, 0, 0);
    random_f32(f, L * (4 * C * C + 4 * C + 4 * C * C + C), 0, 0.03f); /* feed forward */
    random_f32(f, C, 1, 0);
    random_f32(f, C, 0, 0);
    done(f);
}

static void write_tokens(const char *folder, const char *name, int n_vocab, int n) {
    int32_t head[256] = {20240520, 1, n};
    FILE *f = create(folder, name);
    fwrite(head, sizeof head, 1, f);
    for (int i = 0; i < n; i++) {
        uint16_t id = (uint16_t)(uniform() * n_vocab);
        fwrite(&id, sizeof id, 1, f);
    }
    done(f);
}

/* Words from a stock large enough that a tokenizer finds n_vocab pieces in it. */
static void write_text(const char *folder, int n_words) {
    static char word[6000][12];
    FILE *f = create(folder, "text.txt");
    for (int i = 0; i < 6000; i++) {
        int n = 3 + (int)(uniform() * 7);
        for (int j = 0; j < n; j++) word[i][j] = (char)('a' + (int)(uniform() * 26));
    }
    for (int i = 0; i < n_words; i++) fprintf(f, "%s%s", word[(int)(uniform() * 6000)], i % 12 == 11 ? ".\n" : " ");
    done(f);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: llmc_files FOLDER LAYERS D HEADS VOCAB T\n");
        return 2;
    }
    int v[5];
    for (int i = 0; i < 5; i++) {
        long x = strtol(argv[i + 2], NULL, 10);
        if (x < 1 || x > 65535) return fprintf(stderr, "llmc_files: %s is out of range\n", argv[i + 2]), 2;
        v[i] = (int)x;
    }
    write_model(argv[1], v[0], v[1], v[2], v[3], v[4]);
    write_tokens(argv[1], "train.bin", v[3], 1 << 18);
    write_tokens(argv[1], "val.bin", v[3], 1 << 17);
    write_text(argv[1], 60000);
    return 0;
}
