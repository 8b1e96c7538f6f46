/* grammar_mask.c - which tokens may come: the vocabulary as a tree, walked together with the grammar.
 *
 * A walk costs as much as the tokens that are allowed, which is nearly nothing inside a key and the whole vocabulary inside a
 * string. Three things keep that away from most tokens:
 *  - where all ordinary characters lead to one position, and from there on, as inside a string, counted or not, tokens of such
 *    characters may come by their number: a mask of them is ready with the vocabulary, and only the others are walked;
 *  - a position's mask is kept (the least recently used goes), and positions with equal futures are the same position;
 *  - a position is split by continuation: the part inside the running rule ("inside a string") is walked once for all
 *    places that the rule is called from, with a list of the nodes at which it can end; for each place only what lies
 *    under these nodes is walked again.
 * Everything is one allocation list made at the beginning. SPDX-License-Identifier: Apache-2.0 */
#include "format/grammar_impl.h"

#include <stdlib.h>
#include <string.h>

enum { MASKS = 256, HEADS = 64, CHEAP = 4096 /* nodes of a walk that needs no split */, FIRST_STATES = 64, MAX_STATES = 1 << 16, MAX_SPLIT = 6, AHEAD = 256 };

/* ---- the matcher ---- */

/* A mask that was worked out. far: the most bytes that any of its tokens leaves to the shortest end. */
typedef struct kept { int32_t pos, far; uint64_t used; uint64_t *bits; } kept;
/* The part of positions inside one rule: what is allowed whatever follows, and the nodes where the rule may end. */
typedef struct head { int32_t pos, far; uint32_t exit_at, n_exit; bool split; uint64_t *bits; } head;

struct moa_matcher {
    const moa_grammar *g;
    const moa_token_tree *t;
    moa_machine m;
    int32_t *state; int n_state;      /* positions; -1: free */
    size_t n_word;
    uint64_t *all_bits;
    kept mask[MASKS]; int n_mask;
    head heads[HEADS]; int n_head;
    int16_t *mask_of, *head_of;       /* [cap_pos] -1: none */
    uint32_t *exit; uint32_t n_exit, cap_exit;
    int32_t *path; int n_path;        /* [depth + 1] positions on the way of a walk: [0 .. n_path) are live */
    int32_t hold[3];                  /* positions that a mask in the making needs: 0 when not in use */
    int32_t *root, *moved;            /* scratch of a collection */
    uint64_t *fresh;                  /* bits of the mask in the making */
    struct ahead { int32_t pos, to; } ahead[AHEAD]; /* see look_ahead; position 0: not in use */
    uint64_t clock;
    moa_matcher_stats stats;
};

void moa_matcher_free(moa_matcher *m) {
    if (!m) return;
    moa_machine_deinit(&m->m);
    moa_grammar_free((moa_grammar *)(uintptr_t)m->g);
    free(m->state), free(m->all_bits), free(m->mask_of), free(m->head_of), free(m->exit), free(m->path), free(m->root), free(m->moved);
    free(m);
}

static int too_wide(int rc, moa_err *err) {
    if (rc == MOA_MACHINE_WIDE) moa_fail(err, MOA_ELIMIT, "grammar: more than 65536 ways to read the text so far");
    else moa_fail(err, MOA_ELIMIT, "grammar: its open readings need more memory than a matcher has");
    return moa_hint(err, MOA_ELIMIT, "it is very ambiguous: rules that can read the same text in many ways could be one");
}

static void forget_masks(moa_matcher *m) {
    memset(m->mask_of, 0xFF, (size_t)m->m.cap_pos * sizeof *m->mask_of);
    memset(m->head_of, 0xFF, (size_t)m->m.cap_pos * sizeof *m->head_of);
}

static int roots(moa_matcher *m, bool masks) {
    int n = 0;
    for (int i = 0; i < m->n_state; i++)
        if (m->state[i] >= 0) m->root[n++] = m->state[i];
    for (int i = 0; i < m->n_path; i++) m->root[n++] = m->path[i];
    for (int i = 0; i < 3; i++) m->root[n++] = m->hold[i];
    for (int i = 0; masks && i < m->n_mask; i++) m->root[n++] = m->mask[i].pos;
    for (int i = 0; masks && i < m->n_head; i++) m->root[n++] = m->heads[i].pos;
    return n;
}

/* Forget what nobody needs; masks and heads stay where there is room for them. */
static void collect(moa_matcher *m, bool masks) {
    const int n = roots(m, masks);
    m->stats.collections++;
    memset(m->ahead, 0, sizeof m->ahead);
    moa_machine_collect(&m->m, m->root, n, m->moved);
    int k = 0;
    for (int i = 0; i < m->n_state; i++)
        if (m->state[i] >= 0) m->state[i] = m->root[k++];
    for (int i = 0; i < m->n_path; i++) m->path[i] = m->root[k++];
    for (int i = 0; i < 3; i++) m->hold[i] = m->root[k++];
    forget_masks(m);
    if (!masks) m->n_mask = m->n_head = 0, m->n_exit = 0;
    for (int i = 0; i < m->n_mask; i++) m->mask[i].pos = m->root[k++], m->mask_of[m->mask[i].pos] = (int16_t)i;
    for (int i = 0; i < m->n_head; i++) m->heads[i].pos = m->root[k++], m->head_of[m->heads[i].pos] = (int16_t)i;
}

static void make_room(moa_matcher *m) {
    collect(m, true);
    const moa_machine *x = &m->m;
    if (x->n_pos > x->cap_pos / 2 || x->n_cont > x->cap_cont / 2 || x->n_item > x->cap_item / 2 || x->n_frame > x->cap_frame / 2) collect(m, false);
}

static bool take_memory(moa_matcher *m) {
    const size_t n_pos = (size_t)m->m.cap_pos, depth = m->t ? (size_t)m->t->depth + 1 : 1;
    m->n_word = m->t ? (size_t)m->t->n_vocab / 64 + 1 : 1;
    m->cap_exit = m->t ? m->t->n / 2 + 4096 : 1;
    m->state = malloc(FIRST_STATES * sizeof *m->state);
    m->root = malloc((FIRST_STATES + depth + 3 + MASKS + HEADS) * sizeof *m->root);
    m->moved = malloc(n_pos * sizeof *m->moved);
    m->mask_of = malloc(n_pos * sizeof *m->mask_of);
    m->head_of = malloc(n_pos * sizeof *m->head_of);
    m->exit = malloc(m->cap_exit * sizeof *m->exit);
    m->path = malloc(depth * sizeof *m->path);
    m->all_bits = malloc((MASKS + HEADS + 1) * m->n_word * sizeof *m->all_bits);
    if (!m->state || !m->root || !m->moved || !m->mask_of || !m->head_of || !m->exit || !m->path || !m->all_bits) return false;
    for (int i = 0; i < MASKS; i++) m->mask[i].bits = m->all_bits + (size_t)i * m->n_word;
    for (int i = 0; i < HEADS; i++) m->heads[i].bits = m->all_bits + (size_t)(MASKS + i) * m->n_word;
    m->fresh = m->all_bits + (size_t)(MASKS + HEADS) * m->n_word;
    for (int i = 0; i < FIRST_STATES; i++) m->state[i] = -1;
    m->n_state = FIRST_STATES;
    forget_masks(m);
    return true;
}

int moa_matcher_new(moa_matcher **out, const moa_grammar *g, const moa_token_tree *t, moa_err *err) {
    *out = NULL;
    moa_matcher *m = calloc(1, sizeof *m);
    if (!m) return moa_fail(err, MOA_ENOMEM, "no memory for a matcher");
    m->t = t;
    int rc = moa_machine_init(&m->m, g, err);
    if (rc >= 0 && !take_memory(m)) rc = moa_fail(err, MOA_ENOMEM, "no memory for a matcher");
    m->g = moa_grammar_ref(g);
    if (rc < 0) return moa_matcher_free(m), rc;
    *out = m;
    return 0;
}

/* ---- states ---- */

static int free_state(moa_matcher *m, moa_err *err) {
    for (int i = 0; i < m->n_state; i++)
        if (m->state[i] < 0) return i;
    const int n = m->n_state * 2;
    const size_t depth = m->t ? (size_t)m->t->depth + 1 : 1;
    if (n > MAX_STATES) return moa_fail(err, MOA_ELIMIT, "grammar: more than %d sequences at once", MAX_STATES);
    int32_t *s = realloc(m->state, (size_t)n * sizeof *s);
    if (s) m->state = s;
    int32_t *r = realloc(m->root, ((size_t)n + depth + 3 + MASKS + HEADS) * sizeof *r);
    if (r) m->root = r;
    if (!s || !r) return moa_fail(err, MOA_ENOMEM, "grammar: no memory for %d sequences", n);
    for (int i = m->n_state; i < n; i++) m->state[i] = -1;
    m->n_state = n;
    return n / 2;
}

int moa_matcher_open(moa_matcher *m, moa_err *err) {
    const int s = free_state(m, err);
    if (s < 0) return s;
    int32_t p = moa_machine_start(&m->m);
    if (p == MOA_MACHINE_FULL) make_room(m), p = moa_machine_start(&m->m);
    if (p < 0) return too_wide(p, err);
    m->state[s] = p;
    return s;
}

int moa_matcher_fork(moa_matcher *m, int state, moa_err *err) {
    const int s = free_state(m, err);
    if (s >= 0) m->state[s] = m->state[state];
    return s;
}

void moa_matcher_close(moa_matcher *m, int state) { m->state[state] = -1; }

int moa_matcher_feed(moa_matcher *m, int state, const void *p, size_t n, moa_err *err) {
    const uint8_t *b = p;
    m->hold[0] = m->state[state];
    int32_t at = m->hold[0];
    for (size_t i = 0; i < n && at > 0; i++) {
        at = moa_machine_step(&m->m, m->hold[0], b[i]);
        if (at == MOA_MACHINE_FULL) make_room(m), at = moa_machine_step(&m->m, m->hold[0], b[i]);
        if (at > 0) m->hold[0] = at;
    }
    m->hold[0] = 0;
    if (at < 0) return too_wide(at, err);
    if (at > 0) m->state[state] = at;
    return at > 0;
}

static bool is_end(const moa_token_tree *t, int32_t token) {
    for (int i = 0; i < t->n_end; i++)
        if (t->end[i] == token) return true;
    return false;
}

int moa_matcher_accept(moa_matcher *m, int state, int32_t token, moa_err *err) {
    const moa_token_tree *t = m->t;
    int rc = 0;
    if (token >= 0 && token < t->n_vocab) {
        const uint32_t n = moa_token_length(t, token);
        if (is_end(t, token)) rc = moa_matcher_complete(m, state);
        else if (n) rc = moa_matcher_feed(m, state, t->bytes + t->at[token], n, err);
    }
    return rc ? (rc < 0 ? rc : 0) : moa_fail(err, MOA_EINVAL, "grammar: token %d is not allowed here", token);
}

bool moa_matcher_complete(const moa_matcher *m, int state) { return m->m.pos[m->state[state]].accept; }
bool moa_matcher_finished(const moa_matcher *m, int state) {
    const moa_pos *p = &m->m.pos[m->state[state]];
    return p->accept && !p->n;
}
moa_matcher_stats moa_matcher_get_stats(const moa_matcher *m) { return m->stats; }

/* ---- walks ---- */

typedef struct walk {
    uint64_t *bits;
    int32_t far;       /* the largest distance met so far */
    int32_t most;      /* tokens that leave more than this are not taken */
    int32_t least;     /* the smallest distance met */
    int64_t left;      /* nodes that it may still look at */
    head *exits;       /* NULL: not recorded */
} walk;

static int32_t step(moa_matcher *m, int32_t *from, uint8_t byte) {
    int32_t p = moa_machine_step(&m->m, *from, byte);
    if (p == MOA_MACHINE_FULL) make_room(m), p = moa_machine_step(&m->m, *from, byte);
    return p;
}

static void take(const moa_matcher *m, walk *w, const moa_token_node *n, int32_t pos) {
    const int32_t d = m->m.pos[pos].dist;
    if (d < w->least) w->least = d;
    if (d > w->most) return;
    if (d > w->far) w->far = d;
    for (uint32_t k = n->tok; k < n[1].tok; k++) w->bits[m->t->tok[k] >> 6] |= 1ull << (m->t->tok[k] & 63);
}

/* Nodes [from, to), which lie under one of depth `base`, from position pos on. 1: w->left did not suffice. */
static int walk_nodes(moa_matcher *m, walk *w, int32_t pos, uint32_t from, uint32_t to, int base) {
    const moa_token_node *v = m->t->v;
    int rc = 0;
    m->path[base] = pos;
    for (int i = 0; i < base; i++) m->path[i] = 0; /* dead: costs a collection nothing */
    for (uint32_t i = from; i < to;) {
        const moa_token_node *n = &v[i];
        if (w->left-- == 0) {
            rc = 1;
            break;
        }
        m->n_path = n->depth; /* positions above this node are live */
        const int32_t p = step(m, &m->path[n->depth - 1], n->byte);
        if (p < 0) {
            rc = p;
            break;
        }
        if (p == 0) {
            i = n->skip;
            continue;
        }
        m->path[n->depth] = p;
        if (n->tok < n[1].tok) take(m, w, n, p);
        if (w->exits && m->m.pos[p].accept) {
            if (m->n_exit == m->cap_exit || w->exits->n_exit >= m->t->n / 8 + 64) { /* it ends nearly everywhere: no use in a split */
                w->exits->split = false;
                break;
            }
            m->exit[m->n_exit++] = i, w->exits->n_exit++;
        }
        i++;
    }
    m->n_path = 0;
    return rc;
}

/* ---- ordinary tokens ---- */

enum { NO_WAY = 0, MIXED = -1 };

/* Whether every way through bytes of the ranges leads from pos to *to, which is MIXED before the first. */
static bool all_lead(moa_matcher *m, int32_t *to, int32_t pos, const uint8_t (*range)[2], int n) {
    for (int b = range[0][0], cls = -1; b <= range[0][1]; b++) {
        if (m->g->class_of[b] == cls) continue;
        cls = m->g->class_of[b];
        const int32_t next = moa_machine_step(&m->m, pos, (uint8_t)b);
        if (next < 0) return false; /* no room to look: walks will make some */
        if (n > 1 && next != NO_WAY) {
            if (!all_lead(m, to, next, range + 1, n - 1)) return false;
        } else {
            if (*to == MIXED) *to = next;
            if (*to != next) return false;
        }
    }
    return true;
}

/* Where every ordinary character leads from pos: one position, or nowhere (NO_WAY); else MIXED. */
static int32_t look_ahead(moa_matcher *m, int32_t pos) {
    static const struct { uint8_t range[4][2]; int n; } chars[] = { /* Unicode 15, table 3-7, without what moa_char_is_ordinary leaves out */
        {{{0x20, '"' - 1}}, 1}, {{{'"' + 1, '\\' - 1}}, 1}, {{{'\\' + 1, 0x7F}}, 1},
        {{{0xC2, 0xDF}, {0x80, 0xBF}}, 2}, {{{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}, 3}, {{{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}, 3},
        {{{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}, 3}, {{{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}, 3}, {{{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4},
        {{{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}, 4}, {{{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}, 4}};
    struct ahead *a = &m->ahead[pos % AHEAD];
    if (a->pos == pos) return a->to;
    int32_t to = MIXED;
    bool one = true;
    for (size_t i = 0; one && i < sizeof chars / sizeof *chars; i++) one = all_lead(m, &to, pos, chars[i].range, chars[i].n);
    *a = (struct ahead){pos, one ? to : MIXED};
    return a->to;
}

/* All ordinary tokens that may come at pos, without a walk; false: it takes one. */
static bool take_ordinary(moa_matcher *m, walk *w, int32_t pos) {
    int32_t least = w->least, far = w->far;
    int chars = 0; /* that may come */
    for (int32_t to; chars < MOA_TREE_CHARS && (to = look_ahead(m, pos)) != NO_WAY; pos = to) {
        const int32_t d = m->m.pos[to > 0 ? to : 0].dist;
        if (to == MIXED || d > w->most || (w->exits && m->m.pos[to].accept)) return false;
        least = d < least ? d : least, far = d > far ? d : far;
        chars = to == pos ? MOA_TREE_CHARS : chars + 1;
    }
    const uint64_t *bits = m->t->short_ordinary + (size_t)(chars - 1) * m->n_word;
    for (size_t i = 0; i < m->n_word && chars > 0; i++) w->bits[i] |= bits[i];
    w->least = least, w->far = far;
    return true;
}

static int walk_all(moa_matcher *m, walk *w, int32_t pos) {
    return walk_nodes(m, w, pos, take_ordinary(m, w, pos) ? m->t->n_ordinary : 0, m->t->n, 0);
}

/* ---- heads ---- */

static int32_t distance_of(const moa_matcher *m, int32_t cont) { return m->m.cont[cont].dist; }

/* The head at position pos (its items go on at the end of the text), from memory or made now; 1: a collection came between. */
static int find_head(head **out, moa_matcher *m, int32_t pos) {
    if (m->head_of[pos] >= 0) return *out = &m->heads[m->head_of[pos]], 0;
    if (m->n_head == HEADS || m->n_exit + m->t->n / 8 + 64 > m->cap_exit) { /* begin anew: the useful ones come back at once */
        memset(m->head_of, 0xFF, (size_t)m->m.cap_pos * sizeof *m->head_of);
        m->n_head = 0, m->n_exit = 0;
    }
    head h = {.exit_at = m->n_exit, .split = true, .bits = m->heads[m->n_head].bits};
    memset(h.bits, 0, m->n_word * sizeof *h.bits);
    walk w = {.bits = h.bits, .most = MOA_GRAMMAR_FAR, .least = MOA_GRAMMAR_FAR, .left = INT64_MAX, .exits = &h};
    const int64_t before = m->stats.collections;
    m->hold[1] = pos;
    const int rc = walk_all(m, &w, pos);
    h.pos = m->hold[1];
    h.far = w.far;
    m->hold[1] = 0;
    if (rc < 0 || m->stats.collections != before) {
        m->n_exit = m->n_head ? h.exit_at : 0;
        return rc < 0 ? rc : 1;
    }
    if (!h.split) m->n_exit = h.exit_at, h.n_exit = 0;
    m->heads[m->n_head] = h;
    m->head_of[h.pos] = (int16_t)m->n_head;
    *out = &m->heads[m->n_head++];
    return 0;
}

/* Everything that the items of hold[0] with continuation cont allow. */
static int add_part(moa_matcher *m, walk *w, int32_t cont) {
    const int64_t rest = distance_of(m, cont);
    int32_t pos = moa_machine_head(&m->m, m->hold[0], cont);
    if (pos < 0) return pos;
    head *h;
    int rc = find_head(&h, m, pos);
    if (rc != 0 || !h->split) return rc < 0 ? rc : 1;
    for (size_t i = 0; i < m->n_word; i++) w->bits[i] |= h->bits[i];
    if (h->far + rest > w->far) w->far = h->far + rest < MOA_GRAMMAR_FAR ? (int32_t)(h->far + rest) : MOA_GRAMMAR_FAR - 1;
    return 0;
}

/* Behind the nodes where the items of hold[0] with continuation cont may end. */
static int add_exits(moa_matcher *m, walk *w, int32_t cont) {
    const int32_t pos = moa_machine_head(&m->m, m->hold[0], cont);
    const int32_t after = pos < 0 ? pos : moa_machine_pop(&m->m, cont);
    if (after < 0) return after;
    const head *h = &m->heads[m->head_of[pos]];
    m->hold[2] = after;
    const uint32_t at = h->exit_at, n = h->n_exit;
    int rc = 0;
    for (uint32_t i = 0; i < n && rc >= 0; i++) {
        const uint32_t e = m->exit[at + i];
        if (e + 1 < m->t->v[e].skip) rc = walk_nodes(m, w, m->hold[2], e + 1, m->t->v[e].skip, m->t->v[e].depth);
    }
    m->hold[2] = 0;
    return rc;
}

/* ---- masks ---- */

static void clear(const moa_matcher *m, walk *w) {
    memset(w->bits, 0, m->n_word * sizeof *w->bits);
    *w = (walk){.bits = w->bits, .most = MOA_GRAMMAR_FAR, .least = MOA_GRAMMAR_FAR, .left = INT64_MAX};
}

static int whole_walk(moa_matcher *m, walk *w) { return walk_all(m, w, m->hold[0]); }

/* The continuations of hold[0]; 0 when it is not worth a split. */
static int continuations(const moa_matcher *m, int32_t cont[MAX_SPLIT]) {
    const moa_pos *p = &m->m.pos[m->hold[0]];
    int n = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const int32_t c = m->m.item[p->at + i].cont;
        int k = 0;
        while (k < n && cont[k] != c) k++;
        if (k < n) continue;
        if (n == MAX_SPLIT) return 0;
        cont[n++] = c;
    }
    return n;
}

static void set(uint64_t *bits, int32_t token, bool on) {
    const uint64_t bit = 1ull << (token & 63);
    bits[token >> 6] = on ? bits[token >> 6] | bit : bits[token >> 6] & ~bit;
}

static bool all_heads_known(moa_matcher *m, const int32_t *cont, int n) {
    for (int i = 0; i < n; i++) {
        const int32_t pos = moa_machine_head(&m->m, m->hold[0], cont[i]);
        if (pos < 0 || m->head_of[pos] < 0) return false;
    }
    return true;
}

/* Small sets of tokens are walked; large ones are put together from parts. Continuations are renumbered by a collection: then
 * what was begun is done again as one walk. */
static int split_walk(moa_matcher *m, walk *w) {
    int32_t cont[MAX_SPLIT];
    int n = continuations(m, cont), rc = 1;
    if (n == 0 || !all_heads_known(m, cont, n)) {
        w->left = CHEAP;
        if ((rc = whole_walk(m, w)) <= 0) return rc;
        clear(m, w);
        n = continuations(m, cont);
    }
    if (n == 0 || (n == 1 && cont[0] == 0)) return whole_walk(m, w);
    const int64_t before = m->stats.collections;
    rc = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        rc = add_part(m, w, cont[i]);
        if (rc == 0) rc = add_exits(m, w, cont[i]);
        if (m->stats.collections != before) rc = 1;
    }
    if (rc == 0 || rc == MOA_MACHINE_WIDE) return rc;
    if (rc == MOA_MACHINE_FULL) make_room(m);
    clear(m, w);
    return whole_walk(m, w);
}

static void add_ends(const moa_matcher *m, uint64_t *bits) {
    for (int i = 0; m->m.pos[m->hold[0]].accept && i < m->t->n_end; i++) set(bits, m->t->end[i], true);
}

/* The mask of hold[0] into m->fresh. */
static int work_out(moa_matcher *m, int32_t *far) {
    walk w = {.bits = m->fresh};
    clear(m, &w);
    const int rc = split_walk(m, &w);
    *far = w.far;
    add_ends(m, m->fresh);
    return rc;
}

/* Put m->fresh in the place of the mask that was used least recently. */
static kept *keep(moa_matcher *m, int32_t far) {
    int k = m->n_mask;
    if (k == MASKS) {
        k = 0;
        for (int i = 1; i < MASKS; i++)
            if (m->mask[i].used < m->mask[k].used) k = i;
        m->mask_of[m->mask[k].pos] = -1;
    } else {
        m->n_mask++;
    }
    uint64_t *bits = m->mask[k].bits;
    m->mask[k] = (kept){.pos = m->hold[0], .far = far, .bits = m->fresh};
    m->fresh = bits;
    m->mask_of[m->hold[0]] = (int16_t)k;
    return &m->mask[k];
}

/* Tokens after which the shortest end is at most `most` bytes away; where none is, those with the shortest. */
static int tight_mask(moa_matcher *m, int32_t most) {
    walk w = {.bits = m->fresh};
    clear(m, &w);
    w.most = most;
    int rc = whole_walk(m, &w);
    add_ends(m, m->fresh);
    if (rc < 0 || w.least <= most || m->m.pos[m->hold[0]].accept) return rc;
    const int32_t least = w.least;
    clear(m, &w);
    w.most = least;
    return whole_walk(m, &w);
}

static bool any(const uint64_t *bits, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (bits[i]) return true;
    return false;
}

int moa_matcher_mask(const uint64_t **mask, moa_matcher *m, int state, int64_t budget, moa_err *err) {
    int rc = 0;
    m->hold[0] = m->state[state];
    const int at = m->mask_of[m->hold[0]];
    kept *k = at >= 0 ? &m->mask[at] : NULL;
    if (k) {
        m->stats.hits++;
    } else {
        int32_t far;
        m->stats.misses++;
        if ((rc = work_out(m, &far)) >= 0) k = keep(m, far);
    }
    if (k) {
        k->used = ++m->clock;
        *mask = k->bits;
        if (k->far > budget - 1 && (rc = tight_mask(m, budget - 1 < 0 ? 0 : (int32_t)(budget - 1))) >= 0) *mask = m->fresh;
    }
    m->hold[0] = 0;
    if (rc < 0) return too_wide(rc, err);
    if (any(*mask, m->n_word)) return 0;
    moa_fail(err, MOA_EINVAL, "grammar: no token of the vocabulary can go on here");
    return moa_hint(err, MOA_EINVAL, m->m.pos[m->state[state]].accept ? "the reply is complete, but the model has no token that ends it"
                                                                      : "the grammar wants characters that the model cannot write");
}
