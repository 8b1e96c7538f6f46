/* inbox.c - see inbox.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/inbox.h"

#include "base/clock.h"

enum { MAX_TEXT = 1 << 28 };

void moa_inbox_init(moa_inbox *b, void (*wake)(void *ctx, double at), void *ctx) {
    *b = (moa_inbox){.wake = wake, .ctx = ctx};
    pthread_mutex_init(&b->lock, NULL);
}

void moa_inbox_deinit(moa_inbox *b) { pthread_mutex_destroy(&b->lock); }

/* Under the lock, the wake too: as soon as the owner has read the end of its last call, the inbox may be gone. */
static void list(moa_letter *l, bool urgent) {
    moa_inbox *b = l->box;
    if (!l->listed) {
        l->listed = true;
        l->next = NULL;
        *(b->last ? &b->last->next : &b->first) = l;
        b->last = l;
    } else if (!urgent) {
        return;
    }
    const double now = moa_now(), at = urgent ? now : b->woken + (l->quiet ? MOA_INBOX_QUIET_S : MOA_INBOX_S);
    if (at <= now) {
        b->woken = now;
        b->wake(b->ctx, 0);
    } else if (!(b->asked > 0) || at < b->asked) {
        b->asked = at;
        b->wake(b->ctx, at);
    }
}

static void on_text(moa_call *c, const char *text, size_t n) {
    moa_letter *l = (moa_letter *)c;
    pthread_mutex_lock(&l->box->lock);
    if (moa_buf_add(&l->text, text, n) < 0) l->lost = true, atomic_store(&c->cancel, true); /* a hole in a text is worse than its end */
    list(l, l->lost);
    pthread_mutex_unlock(&l->box->lock);
}

/* Thoughts without memory for them are lost: the reply is whole without. */
static void on_thought(moa_call *c, const char *text, size_t n) {
    moa_letter *l = (moa_letter *)c;
    pthread_mutex_lock(&l->box->lock);
    moa_buf_add(&l->thought, text, n);
    list(l, false);
    pthread_mutex_unlock(&l->box->lock);
}

static void on_end(moa_call *c) {
    moa_letter *l = (moa_letter *)c;
    moa_inbox *b = l->box;
    pthread_mutex_lock(&b->lock);
    if (l->lost) c->rc = moa_fail(&c->err, MOA_ENOMEM, "no memory for the text of a reply");
    l->ended = true;
    list(l, true);
    pthread_mutex_unlock(&b->lock);
}

void moa_letter_init(moa_letter *l, moa_inbox *b, int about) {
    l->call.on_text = on_text;
    l->call.on_end = on_end;
    l->about = about;
    l->box = b;
    l->listed = l->ended = l->lost = l->thinking = false;
    moa_buf_init(&l->text, MAX_TEXT);
    moa_buf_init(&l->thought, MAX_TEXT);
}

void moa_letter_hear_thoughts(moa_letter *l) { l->call.on_thought = on_thought; }
void moa_letter_quiet(moa_letter *l) { l->quiet = true; }

static void swap(moa_buf *a, moa_buf *b) {
    const moa_buf was = *a;
    *a = *b;
    *b = was;
}

moa_letter *moa_inbox_read(moa_inbox *b, moa_buf *text, bool *ended) {
    moa_buf_clear(text);
    pthread_mutex_lock(&b->lock);
    moa_letter *l = b->first;
    b->asked = 0;
    if (l && (l->thinking = l->thought.len > 0)) {
        swap(text, &l->thought);
        *ended = false; /* it stays on the list */
    } else if (l) {
        if (!(b->first = l->next)) b->last = NULL;
        l->listed = false;
        swap(text, &l->text);
        *ended = l->ended;
    }
    pthread_mutex_unlock(&b->lock);
    if (l && *ended) moa_buf_deinit(&l->text), moa_buf_deinit(&l->thought);
    return l;
}
