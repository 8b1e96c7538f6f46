/* evolve.h - a search for a program that meets examples, with mutations by operators or by models (ShinkaEvolve, Lange et al., arXiv 2509.19349).
 *
 * A program is a text of minipy (task/minipy.h): it reads x and prints one number. minipy bounds all it does, so anything may be tried.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_EVOLVE_H
#define MOA_AGENT_EVOLVE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/rng.h"

typedef struct moa_example { long long x, y; } moa_example;
/* Who makes another program of one. Own operators cost a unit; a model's call what it says. */
typedef struct moa_mutator moa_mutator;
struct moa_mutator {
    const char *name, *help;
    /* Writes the child; no text: it has none. A negative code ends the search. */
    int (*mutate)(moa_buf *child, const moa_mutator *m, const char *parent, double fitness, moa_rng *r, moa_err *err);
    void *ctx;
};
const moa_mutator *moa_mutators(int *n); /* own operators: "edit" changes a token as a person would, "noise" a character as nobody would */

/* A model as a mutator: it is shown the examples and the parent, and its program is what stands in a code fence of its reply, or all of it. */
typedef struct moa_model_mutator { struct moa_backend *backend; const moa_example *example; int n_example, max_tokens; int64_t tokens; } moa_model_mutator;
moa_mutator moa_mutator_model(moa_model_mutator *m);

enum { MOA_EVOLVE_MUTATORS = 8, MOA_EVOLVE_PROGRAM = 160, MOA_EVOLVE_EXAMPLES = 64 };
typedef struct moa_evolve {
    const moa_example *example; int n_example;
    const moa_mutator *mutator; int n_mutator;
    const char *start;                /* NULL: "print(x)" */
    int evaluations;                  /* programs run, at most */
    int archive, islands, migrate;    /* programs kept on each island; evaluations between two migrations of an island's best, 0: never */
    double novelty;                   /* a child more alike than this to one of its island is not run: 1 - edit distance / length. 1: none is rejected */
    bool uniform;                     /* mutators are drawn evenly: no bandit */
    double explore, epsilon;          /* of the bandit; the share of mutations for which any mutator is drawn */
    uint64_t seed;
    /* what came of it */
    bool found;
    int run, rejected, calls[MOA_EVOLVE_MUTATORS]; /* programs run; those that were too alike; mutations asked of each */
    double fitness;                   /* of the best: 1 where it meets all examples */
    char best[MOA_EVOLVE_PROGRAM];
} moa_evolve;
int moa_evolve_run(moa_evolve *e, bool (*go_on)(void *ctx, const moa_evolve *e), void *ctx, moa_err *err);

/* Mean over the examples of 1 / (1 + sqrt|y - wanted|); an example that fails or prints no number counts 0. */
double moa_evolve_fitness(const char *program, const moa_example *v, int n);
double moa_edit_similarity(const char *a, const char *b); /* 1 - Levenshtein distance / length of the longer; of the first bytes that a program may have */

#endif
