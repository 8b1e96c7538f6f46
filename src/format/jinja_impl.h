/* jinja_impl.h - what the files of the interpreter share: values, nodes, the state of one rendering.
 *
 *   jinja_lex.c    text -> tokens (whitespace control lives here)
 *   jinja_parse.c  tokens -> nodes
 *   jinja_eval.c   nodes -> output: statements, expressions, scopes, calls
 *   jinja_value.c  values: truth, equality, order, Python's repr, JSON
 *   jinja_str.c    characters, numbers as text, formatting
 *   jinja_filter.c, jinja_test.c, jinja_method.c   the tables of names
 *
 * All memory of a template is in its arena, all memory of a rendering in the rendering's: nothing is freed one
 * by one, an error may return from any depth. Names here are private and start with jinja_ or j.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_FORMAT_JINJA_IMPL_H
#define MOA_FORMAT_JINJA_IMPL_H

#include "base/arena.h"
#include "base/err.h"
#include "format/jinja.h"

#include <string.h>

/* ---- values: 16 bytes, copied freely; containers are shared as in Python ---- */

typedef enum jtype {
    JT_UNDEF, JT_NONE, JT_BOOL, JT_INT, JT_FLOAT, JT_STR, JT_LIST, JT_TUPLE, JT_DICT,
    JT_NS, JT_RANGE, JT_MACRO, JT_LOOP, JT_METHOD, JT_FUNC
} jtype;

enum { JF_SAFE = 1, /* JT_STR: marked safe; + escapes the other side */
       JF_LAZY = 1, /* JT_LIST: stands for a Python generator: always true, not a sequence */
       JF_GROUP = 1 /* JT_TUPLE: of groupby, whose parts have names: grouper, list */ };

typedef struct jv {
    uint8_t type, flag; /* JT_UNDEF: flag is 1 + the type of the object that lacked the attribute, or 0 */
    uint32_t n;         /* bytes of a string, or of the undefined name */
    union {
        bool b;
        int64_t i;
        double f;
        const char *s; /* not 0-terminated */
        struct jlist *l;
        struct jdict *d;
        struct jrange *r;
        struct jmacro *m;
        struct jloop *loop;
        struct jmethod *me;
        const struct jrow *fn;
    } u;
} jv;

typedef struct jlist { jv *v; size_t n, cap; } jlist;
typedef struct jentry { jv k, v; uint64_t hash; } jentry; /* k undefined with flag 255: removed */
typedef struct jdict { jentry *e; size_t n, cap, live; uint32_t *slot; size_t n_slot; } jdict; /* in order of insertion */
typedef struct jrange { int64_t start, stop, step; size_t n; } jrange;

typedef struct jctx jctx;
typedef struct jcall {
    int n, n_key;
    jv *v;
    const jv *key; /* names (strings) of the values after the positional ones: key[i] names v[n + i] */
} jcall;

/* One row of a table of filters, tests, functions or methods. self: the filtered value or the object. */
typedef int (*jfn)(jctx *c, jv *out, jv self, const jcall *a);
typedef struct jrow { const char *name; jfn fn; uint32_t types; } jrow; /* types: bits of 1 << jtype, methods only */
typedef struct jmethod { jv self; const jrow *row; } jmethod;

/* ---- nodes ---- */

typedef enum jkind {
    /* statements */
    N_TEXT, N_PRINT, N_IF, N_FOR, N_SET, N_SET_BLOCK, N_MACRO, N_CALL_BLOCK, N_FILTER_BLOCK, N_WITH, N_BODY, N_BREAK, N_CONTINUE,
    /* expressions */
    N_CONST, N_NAME, N_LIST, N_TUPLE, N_DICT, N_ATTR, N_ITEM, N_SLICE, N_CALL, N_FILTER, N_TEST, N_NOT, N_NEG, N_POS,
    N_BIN, N_AND, N_OR, N_CONCAT, N_COMPARE, N_COND
} jkind;

typedef enum jop { /* ORDER jop: the lexer's two-character operators and the evaluator's switch */
    O_ADD, O_SUB, O_MUL, O_DIV, O_FLOOR, O_MOD, O_POW, O_EQ, O_NE, O_LT, O_LE, O_GT, O_GE, O_IN, O_NOT_IN
} jop;

typedef struct jnode jnode;
typedef struct jarg { jv name; jnode *value; int star; } jarg; /* name undefined: positional; star 1: *x, 2: **x */
struct jnode {
    uint8_t kind, op, flag;
    int line, sym, n; /* n: kids */
    jnode *a, *b, *c;
    jnode **kid;
    jarg *arg;
    int n_arg;
    jv val;          /* N_CONST, N_TEXT; name of N_ATTR, N_FILTER, N_TEST */
    const jrow *row; /* N_FILTER, N_TEST; NULL: no such name, an error when reached */
};
/* N_IF: kid = condition, body, condition, body, ..., b = else. N_FOR: a target, b iterable, c condition, kid[0] body, kid[1]
 * else, flag 1: recursive. N_SET: a target, b value. N_SET_BLOCK: a target, b body, kid filters. N_MACRO: sym, arg = parameters
 * (value = default), b body. N_CALL_BLOCK: a call, b an N_MACRO. N_FILTER_BLOCK: a = chain over a NULL input, b body.
 * N_WITH: kid = targets and values in turn, b body. N_COMPARE: a first, kid[i] operand, op in kid[i]'s wrapper N_BIN node. */

enum { JM_VARARGS = 1, JM_KWARGS = 2, JM_CALLER = 4 }; /* N_MACRO flag: names that its body reads */

struct moa_jinja {
    moa_arena *arena;
    char *name;
    jnode *body;
    const char **sym; /* names of symbols */
    int n_sym;
    int s_loop, s_caller, s_varargs, s_kwargs;
};

/* ---- one rendering ---- */

typedef struct jvar { int sym; jv v; } jvar;
typedef struct jscope { struct jscope *up; jvar *var; int n, cap; bool kept; } jscope; /* kept: a macro refers to it */
typedef struct jmacro { const jnode *node; jscope *scope; } jmacro;
typedef struct jloop { const jnode *node; jscope *scope; jlist items; size_t i; int depth; jv changed; bool any_changed; } jloop;
typedef struct jbuf { char *p; size_t n, cap; } jbuf; /* in the arena */

struct jctx {
    const moa_jinja *t;
    moa_arena *arena;
    char *bump;
    size_t bump_left, max_out;
    uint64_t steps; /* left */
    int depth, line;
    int64_t now;
    jbuf *out, *main;
    jscope *scope;
    moa_err *err;
};

enum { JINJA_MAX_DEPTH = 800, JINJA_MAX_NEST = 300, JINJA_MAX_PARSE = 200, JINJA_MAX_RANGE = 1000000 };

/* ---- shared functions ---- */

typedef struct jjson { bool ascii, sort; jv indent, item_sep, key_sep; } jjson; /* indent: undefined for one line, else a string */

int jinja_fail(jctx *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int jinja_nomem(jctx *c);
int jinja_charge(jctx *c, size_t work); /* steps for work that is not a node: 1 + work / 32 */
void *jinja_alloc(jctx *c, size_t n);   /* 16-byte aligned; NULL: fail with jinja_nomem */
int jinja_add(jctx *c, jbuf *b, const void *p, size_t n);
int jinja_adds(jctx *c, jbuf *b, const char *s);
int jinja_add_cp(jctx *c, jbuf *b, uint32_t cp);

static inline jv jv_none(void) { return (jv){.type = JT_NONE}; }
static inline jv jv_undef(void) { return (jv){.type = JT_UNDEF}; }
static inline jv jv_bool(bool b) { return (jv){.type = JT_BOOL, .u.b = b}; }
static inline jv jv_int(int64_t i) { return (jv){.type = JT_INT, .u.i = i}; }
static inline jv jv_float(double f) { return (jv){.type = JT_FLOAT, .u.f = f}; }
static inline jv jv_strn(const char *s, size_t n) { return (jv){.type = JT_STR, .n = (uint32_t)n, .u.s = s}; }
static inline jv jv_str(const char *s) { return jv_strn(s, strlen(s)); }
static inline jv jv_buf(const jbuf *b) { return jv_strn(b->p ? b->p : "", b->n); }
static inline bool jv_is(jv v, const char *s) { return v.type == JT_STR && v.n == strlen(s) && !memcmp(v.u.s, s, v.n); }

/* jinja_value.c */
const char *jinja_type_name(jv v); /* Python's: "str", "dict" */
bool jinja_truth(jv v);
int jinja_equal(jctx *c, bool *out, jv a, jv b, int depth);
int jinja_order(jctx *c, int *out, jv a, jv b, int depth); /* <0, 0, >0; error for types without an order */
int jinja_contains(jctx *c, bool *out, jv box, jv item);
int jinja_repr(jctx *c, jbuf *b, jv v, int depth);
int jinja_str(jctx *c, jv *out, jv v); /* Python's str() */
int jinja_json(jctx *c, jbuf *b, jv v, const jjson *o, int depth);
int jinja_from_json(jctx *c, jv *out, const json_t *j, int depth);
int jinja_undefined(jctx *c, jv v); /* the error for using it */
int jinja_list_new(jctx *c, jv *out, size_t cap);
int jinja_list_add(jctx *c, jlist *l, jv v);
int jinja_dict_new(jctx *c, jv *out);
int jinja_dict_find(jctx *c, jentry **out, const jdict *d, jv k); /* NULL: not there */
int jinja_dict_set(jctx *c, jdict *d, jv k, jv v);
void jinja_dict_remove(jdict *d, jentry *e);
static inline bool jinja_live(const jentry *e) { return !(e->k.type == JT_UNDEF && e->k.flag == 255); }
/* Items of anything iterable: a list's own memory, or a new list. */
int jinja_items(jctx *c, jlist *out, jv v);
int jinja_length(jctx *c, int64_t *out, jv v);
/* obj.name and obj[key] with Jinja's fallbacks; undefined when absent */
int jinja_getattr(jctx *c, jv *out, jv obj, jv name);
int jinja_getitem(jctx *c, jv *out, jv obj, jv key);

/* jinja_str.c */
bool jinja_space(uint32_t cp);
size_t jinja_chars(jv s);
size_t jinja_offset(jv s, size_t chars); /* byte offset of a character */
jv jinja_strip(jv s, jv chars, int sides); /* sides: 1 left, 2 right; chars undefined or none: white space */
jv jinja_sub(jv s, size_t from, size_t to);  /* bytes; keeps the flag */
const char *jinja_find(jv s, jv part);       /* NULL: not there; an empty part is found at the start */
enum { JC_UPPER, JC_LOWER, JC_TITLE, JC_CAPITAL, JC_SWAP, JC_FILTER_TITLE };
int jinja_case(jctx *c, jv *out, jv s, int how);
int jinja_replace(jctx *c, jv *out, jv s, jv old, jv with, int64_t count);
int jinja_escape(jctx *c, jv *out, jv s);
int jinja_add_float(jctx *c, jbuf *b, double f);
bool jinja_parse_int(int64_t *out, jv s, int base); /* Python's int(str, base) */
bool jinja_parse_float(double *out, jv s);
int jinja_percent(jctx *c, jv *out, jv fmt, const jv *v, size_t n, jv map); /* "..." % values */
int jinja_format(jctx *c, jv *out, jv fmt, const jcall *a);                 /* "...".format(...) */

/* tables */
const jrow *jinja_filter_find(jv name);
const jrow *jinja_test_find(jv name);
const jrow *jinja_global_find(const char *name);
const jrow *jinja_method_find(jv obj, jv name);
jv *jinja_arg(const jcall *a, int pos, const char *name); /* NULL: not given */
int jinja_arg_int(jctx *c, int64_t *out, const jcall *a, int pos, const char *name, int64_t dflt);
bool jinja_arg_true(const jcall *a, int pos, const char *name, bool dflt);

/* jinja_eval.c */
int jinja_eval(jctx *c, jv *out, const jnode *n);
int jinja_call(jctx *c, jv *out, jv f, const jcall *a);
int jinja_sort(jctx *c, jv *v, const jv *key, size_t n, bool reverse); /* stable; permutes v alone, which may be key */
int jinja_binary(jctx *c, jv *out, jop op, jv a, jv b);

/* jinja_lex.c */
typedef enum jtok { T_TEXT, T_BLOCK, T_BLOCK_END, T_VAR, T_VAR_END, T_NAME, T_STR, T_INT, T_FLOAT, T_OP, T_EOF } jtok;
typedef struct jtoken { uint8_t type; char op[3]; int line; jv val; } jtoken; /* T_NAME, T_STR, T_TEXT: string */
/* Tokens into the arena of c (whose err, line and arena are all that is used). */
int jinja_lex(jctx *c, jtoken **out, size_t *n, const char *text, size_t len);
int jinja_parse_tokens(jctx *c, moa_jinja *t, const jtoken *tok, size_t n);

#endif
