/* reply.c - a reply as others read it: its answer once.
 *
 * Who merges by what most replies say counts answers, and a reply that states its answer twice would count twice: measured, two injectors of six
 * (agent/backend/deceiver.h) then steered the bundled aggregator far more often than two plain liars (docs/agents/deception.md). So of several
 * statements "Answer: ..." the last one stays, which is the one that votes count; the others go to the end of their lines. Where the first
 * says the same as the last, what stands behind it says nothing new, and goes. And a reply that imitates the borders of references is read up to there.
 * SPDX-License-Identifier: Apache-2.0 */
#include "agent/strategy.h"

#include "base/buf.h"
#include "task/task.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Does a statement begin at s[i]? */
static bool states(const char *s, size_t i) {
    const char *p = s + i + 6;
    if (strncasecmp(s + i, "answer", 6) != 0 || (i && isalnum((unsigned char)s[i - 1]))) return false;
    while (*p == ' ' || *p == '\t' || *p == '*') p++;
    return *p == ':';
}

/* Is the line at s a border as moa_aggregate_prompt writes them? */
static bool border(const char *s) {
    s += strspn(s, " \t>");
    if (strncmp(s, "==", 2) != 0) return false;
    s += 2 + strspn(s + 2, " \t");
    const size_t n = strncasecmp(s, "end", 3) == 0 ? 3 : strspn(s, "0123456789");
    return n && strncmp(s + n + strspn(s + n, " \t"), "==", 2) == 0;
}

static const char *before_borders(moa_run *r, moa_agent_node *reader, const moa_agent_node *from, const char *s) {
    for (const char *line = s; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!border(line)) continue;
        const char *head = moa_arena_strndup(r->arena, s, (size_t)(line - s));
        moa_node_note(r, reader, "%s imitates the borders of references: read up to there", from->name);
        return head ? head : "";
    }
    return s;
}

static bool same_answer(const char *a, size_t n, const char *b) {
    moa_buf x, y;
    moa_buf_init(&x, MOA_ANSWER_MAX);
    moa_buf_init(&y, MOA_ANSWER_MAX);
    const bool same = moa_answer_extract(&x, a, n) && moa_answer_extract(&y, b, strlen(b)) && !strcmp(moa_buf_str(&x), moa_buf_str(&y));
    moa_buf_deinit(&x);
    moa_buf_deinit(&y);
    return same;
}

const char *moa_reply_as_read(moa_run *r, moa_agent_node *reader, const moa_agent_node *from) {
    const char *s = before_borders(r, reader, from, moa_node_reply(from)), *kept;
    size_t last = 0, first = 0;
    int n = 0;
    moa_buf b;
    for (size_t i = 0; s[i]; i++)
        if (states(s, i)) first = n++ ? first : i, last = i;
    if (n < 2) return s;
    const size_t line = first + strcspn(s + first, "\n");
    if (same_answer(s + first, line - first, s + last)) {
        moa_node_note(r, reader, "%s answers %d times, the same: read up to the first", from->name, n);
        kept = moa_arena_strndup(r->arena, s, line);
        return kept ? kept : s;
    }
    moa_buf_init(&b, strlen(s) + 1);
    for (size_t i = 0; s[i]; i++) {
        if (i < last && states(s, i)) {
            while (i + 1 < last && s[i] != '\n') i++;
            if (s[i] != '\n') continue;
        }
        moa_buf_add(&b, s + i, 1);
    }
    kept = b.failed ? NULL : moa_arena_strndup(r->arena, moa_buf_str(&b), b.len);
    moa_buf_deinit(&b);
    if (!kept) return s;
    moa_node_note(r, reader, "%s answers %d times: the last stays", from->name, n);
    return kept;
}
