/* inbox.h - calls of one owner: what backends tell of them, in their threads, is kept until the owner reads it in its own.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_AGENT_INBOX_H
#define MOA_AGENT_INBOX_H

#include "agent/backend.h"
#include "base/buf.h"

#include <pthread.h>

#define MOA_INBOX_S 0.004
#define MOA_INBOX_QUIET_S 0.1

typedef struct moa_letter moa_letter;
typedef struct moa_inbox {
    pthread_mutex_t lock;
    moa_letter *first, *last;          /* with news */
    /* There is news; read it now (at 0) or at that time (moa_now). From any thread: returns at once. Texts of a fast model come thousands of times a
     * second: a thread that wakes for each takes the core that computes the next. So the first is told at once, others MOA_INBOX_S after. */
    void (*wake)(void *ctx, double at); void *ctx;
    double woken;                      /* when, last */
    double asked;                      /* when it will be woken; 0: not yet */
} moa_inbox;
/* A call under way. Its memory is the owner's, until its end was read. */
struct moa_letter {
    moa_call call;
    int about;                         /* the owner's: node, index */
    moa_inbox *box;
    moa_buf text, thought;             /* not read yet */
    bool quiet;                        /* nobody is shown its text as it comes: MOA_INBOX_QUIET_S is soon enough */
    bool listed, ended, lost;          /* lost: there was no memory for a text */
    bool thinking;                     /* what was read last were thoughts */
    moa_letter *next;
};

void moa_inbox_init(moa_inbox *b, void (*wake)(void *ctx, double at), void *ctx);
void moa_inbox_deinit(moa_inbox *b);
/* The call's request has been filled in; who hears of it is set here. */
void moa_letter_init(moa_letter *l, moa_inbox *b, int about);
/* Before it starts: thoughts of its model are news too. Without, they are lost. */
void moa_letter_hear_thoughts(moa_letter *l);
void moa_letter_quiet(moa_letter *l); /* before it starts: nobody is shown its text as it comes, only how much there is */
/* A call of which there is news, or NULL. Its new text comes in *text, in place of what was there; *ended: it was the last news, and call.res,
 * rc, err say what came of it. Where it is to be heard thinking, its thoughts come by themselves, before its text (thinking says so). */
moa_letter *moa_inbox_read(moa_inbox *b, moa_buf *text, bool *ended);

#endif
