/* grammar_impl.h - between the files of a grammar: rules while they are built (from GBNF or a schema), the compiled
 * automaton, and the machine that runs it. Only grammar*.c and schema*.c include it.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_GRAMMAR_IMPL_H
#define MOA_FORMAT_GRAMMAR_IMPL_H

#include "base/err.h"
#include "format/grammar.h"

#include <stdatomic.h>

/* ---- rules under construction: grammar_rules.c ---- */

typedef struct moa_span { uint32_t lo, hi; } moa_span; /* code points, both inside */

enum { MOA_RX_EMPTY, MOA_RX_TEXT, MOA_RX_CLASS, MOA_RX_SEQ, MOA_RX_ALT, MOA_RX_REPEAT, MOA_RX_CALL, MOA_RX_GRAPH };
enum { MOA_RX_DEPTH = 400 }; /* of nested expressions: they are walked recursively */

typedef struct moa_rx {
    uint8_t kind;
    bool unit;         /* one character of a string, however it is written: what lengths count */
    uint16_t depth;
    uint32_t at, n;    /* TEXT: bytes; CLASS: spans; SEQ, ALT: child; CALL: at = rule; REPEAT: at = what; GRAPH: steps */
    uint32_t min, max; /* REPEAT; max UINT32_MAX: no end. GRAPH: min nodes */
} moa_rx;

/* From one node of a graph to another by an expression (0: by nothing). Node 0 is the beginning, to which no step leads; 1 the end. */
typedef struct moa_rx_step { uint32_t from, to, x; } moa_rx_step;

typedef struct moa_rule { char *name; uint32_t body; bool defined; uint32_t seen; /* offset + 1 of the first use; 0: none */ } moa_rule;

/* Expressions are numbers into x; 0 is the empty one. Failures stick in `failed`, so that building needs no check a line. */
typedef struct moa_rules {
    moa_rx *x; uint32_t n_x, cap_x;
    uint32_t *child; uint32_t n_child, cap_child;
    moa_span *span; uint32_t n_span, cap_span;
    char *text; uint32_t n_text, cap_text;
    moa_rx_step *step; uint32_t n_step, cap_step;
    moa_rule *rule; uint32_t n_rule, cap_rule;
    uint32_t *slot; uint32_t cap_slot; /* rules by name: index + 1 */
    int failed;                        /* MOA_ENOMEM or MOA_ELIMIT */
} moa_rules;

int moa_rules_init(moa_rules *r, moa_err *err);
void moa_rules_deinit(moa_rules *r);
uint32_t moa_rules_name(moa_rules *r, const char *name, size_t n); /* the rule of that name, made when new */
uint32_t moa_rules_anon(moa_rules *r, const char *like);           /* a new rule, named after what it is for */
void moa_rules_define(moa_rules *r, uint32_t rule, uint32_t x);
int moa_rules_check(const moa_rules *r, moa_err *err);             /* fills err where building failed */

uint32_t moa_rx_text(moa_rules *r, const char *p, size_t n);
uint32_t moa_rx_class(moa_rules *r, const moa_span *s, uint32_t n, bool negated); /* any order; surrogates are left out */
uint32_t moa_rx_seq(moa_rules *r, const uint32_t *x, uint32_t n);
uint32_t moa_rx_alt(moa_rules *r, const uint32_t *x, uint32_t n); /* n > 0 */
uint32_t moa_rx_repeat(moa_rules *r, uint32_t x, uint32_t min, uint32_t max);
uint32_t moa_rx_call(moa_rules *r, uint32_t rule);
uint32_t moa_rx_graph(moa_rules *r, uint32_t n_node, const moa_rx_step *step, uint32_t n); /* n_node >= 2 */
#define MOA_RX_SEQ_OF(r, ...) moa_rx_seq(r, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define MOA_RX_ALT_OF(r, ...) moa_rx_alt(r, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* ---- compiled: grammar_compile.c ---- */

enum { MOA_GRAMMAR_FAR = 1 << 30 }; /* a distance that stands for "further than counts" */

typedef struct moa_byte_edge { uint8_t lo, hi; int32_t to; } moa_byte_edge;
typedef struct moa_call_edge { int32_t rule, to; } moa_call_edge;

/* One automaton a rule, in one numbering of states. Every state can reach its rule's end: what cannot was left out. */
struct moa_grammar {
    atomic_int refs;
    uint64_t id;
    int n_rule, n_state, n_class;
    uint8_t class_of[256], sample[256]; /* bytes that no edge tells apart; one byte of each class */
    uint32_t *byte_at, *call_at, *skip_at; /* [n_state + 1] into the edges */
    moa_byte_edge *byte;
    moa_call_edge *call;
    int32_t *skip;     /* targets of empty steps */
    uint8_t *end;      /* [n_state] 0; 1: the rule may end here; 2: and nothing leaves it */
    int32_t *dist;     /* [n_state] fewest bytes to the rule's end */
    int32_t *start;    /* [n_rule] rule 0 is the root */
    int32_t *rank;     /* [n_rule] a rule comes before those it calls without having read a byte */
};
int moa_grammar_compile(moa_grammar **out, moa_rules *r, uint32_t root, uint64_t id, moa_err *err);

/* ---- the vocabulary: grammar_tree.c ---- */

/* A token is ordinary when it is whole characters, at most MOA_TREE_CHARS of them, none of which JSON writes otherwise in a string. These
 * come first: nodes and tokens of the others, from n_ordinary on, are a tree of their own. */
enum { MOA_TREE_CHARS = 32 };
typedef struct moa_token_node { uint32_t skip, tok; uint16_t depth; uint8_t byte; } moa_token_node; /* skip: the node after its subtree */
struct moa_token_tree {
    int n_vocab, depth;
    moa_token_node *v; uint32_t n, n_ordinary; /* v[n]: only tok counts */
    int32_t *tok; uint32_t n_tok;       /* by bytes; those that end at v[i]: tok[v[i].tok .. v[i + 1].tok) */
    uint64_t *short_ordinary;           /* [MOA_TREE_CHARS][n_vocab / 64 + 1] ordinary tokens of at most 1, 2, ... characters, as bits */
    int32_t *end; int n_end;            /* tokens that end a generation */
    uint32_t *at; char *bytes;          /* bytes of token i: bytes[at[i] .. at[i + 1]) */
};
static inline bool moa_char_is_ordinary(uint32_t c) { return c >= 0x20 && c != '"' && c != '\\'; }
static inline uint32_t moa_token_length(const moa_token_tree *t, int32_t token) { return t->at[token + 1] - t->at[token]; }

/* ---- running: grammar_machine.c ---- */

/* A machine's memory of positions. A position is a set of items (state, continuation); a continuation is a set of frames
 * (state to go on in, its continuation). Both are kept once each, so equal positions have equal numbers, and a step by
 * a byte is looked up once it has been taken. Position 0 is dead; continuation 0 is the end of the text. */
typedef struct moa_item { int32_t state, cont; } moa_item;
typedef struct moa_pos { uint32_t at, n; uint64_t hash; int32_t dist; bool accept; } moa_pos;
typedef struct moa_cont { uint32_t at, n; uint64_t hash; int32_t dist; } moa_cont;

typedef struct moa_machine {
    const moa_grammar *g;
    moa_pos *pos; int32_t n_pos, cap_pos;
    moa_cont *cont; int32_t n_cont, cap_cont;
    moa_item *item; uint32_t n_item, cap_item;   /* of positions */
    moa_item *frame; uint32_t n_frame, cap_frame; /* of continuations; state -1: the end of the text */
    int32_t *pos_slot, *cont_slot;               /* hash tables, number + 1; twice the capacity */
    int32_t *next;                               /* [cap_pos][n_class] position after a byte; -1: not known yet */
    struct moa_closure *c;
} moa_machine;

enum { MOA_MACHINE_FULL = -1, MOA_MACHINE_WIDE = -2 }; /* no room until a collection; a single position is too large */

int moa_machine_init(moa_machine *m, const moa_grammar *g, moa_err *err);
void moa_machine_deinit(moa_machine *m);
int32_t moa_machine_start(moa_machine *m);
int32_t moa_machine_step_slow(moa_machine *m, int32_t pos, int cls);
static inline int32_t moa_machine_step(moa_machine *m, int32_t pos, uint8_t byte) {
    const int cls = m->g->class_of[byte];
    const int32_t to = m->next[(size_t)pos * (size_t)m->g->n_class + (size_t)cls];
    return to >= 0 ? to : moa_machine_step_slow(m, pos, cls);
}
int32_t moa_machine_pop(moa_machine *m, int32_t cont);  /* the position at which `cont` goes on */
int32_t moa_machine_head(moa_machine *m, int32_t pos, int32_t cont); /* items of pos that have cont, with the end of the text in its place */
/* Forgets all positions but those of root[0 .. n), which get new numbers. old (NULL or [cap_pos]) receives each old one's new
 * number, -1 for those that are gone. */
void moa_machine_collect(moa_machine *m, int32_t *root, int n, int32_t *old);

#endif
