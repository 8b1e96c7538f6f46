/* kit.h - strategies under test: models that play a part, runs that are replayed, replies of every evil kind, calls that fail in every place.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_TEST_KIT_H
#define MOA_TEST_KIT_H

#include "agent/run.h"
#include "base/buf.h"

typedef struct player player;
/* The reply of call number `index` over the player's life; NULL: the call fails. Must live as long as the player. */
typedef const char *(*player_fn)(player *p, int index, const moa_call *c);
struct player {
    moa_backend base;
    player_fn say;
    int calls;
    moa_stop why;  /* how its replies end: EOS unless set */
    moa_buf log;   /* every call: its messages as "role: content" lines, then "---" */
    char said[256]; /* for say to write into */
};
enum { KIT_MAX = 8 };
typedef struct kit {
    player p[KIT_MAX]; int n;          /* proposers; p[n], if it plays, is the aggregator, p[n + 1] the judge */
    moa_backend *b[KIT_MAX];
    moa_mix_cfg cfg;
    int fail_at, calls;                /* call number fail_at over all players fails (-1: none) */
    const char *evil; int evil_from;   /* unless NULL: what calls from that number on say */
} kit;
/* settings: "key=value,key=value" or "". say: of all players, who have names "a", "b", ... */
void kit_init(kit *k, const char *strategy, const char *settings, int n, player_fn say);
void kit_deinit(kit *k);
player *kit_aggregator(kit *k, const char *id, player_fn say); /* one of its own */
player *kit_judge(kit *k, const char *id, player_fn say);
/* Runs the question; the run ends, well or not, and its replay is the same to the byte. */
moa_run *kit_run(kit *k, const char *question, uint64_t seed);
/* Every evil reply, of all calls and of those after the first; every call failing in turn. Runs end, replay, say why where they fail; with one call
 * of several lost there is an answer. prepare (may be NULL) is called for every fresh kit: to fill its store, to add players. */
void kit_torture(const char *strategy, const char *settings, int n, player_fn say, void (*prepare)(kit *k), const char *question);
extern int kit_essential; /* so many first calls are such that a run may fail without them; 0 */
/* The node of that name; fails the test without it. */
const moa_agent_node *kit_node(const moa_run *r, const char *name);

#endif
