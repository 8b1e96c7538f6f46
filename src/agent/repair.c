/* repair.c - see repair.h. SPDX-License-Identifier: Apache-2.0 */
#include "agent/repair.h"

#include "agent/calc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

const char *moa_fault_name(moa_fault f) {
    static const char *const name[] = {"misread", "concept", "computation", "none"};
    return f >= MOA_FAULT_MISREAD && f <= MOA_FAULT_NONE ? name[f] : "?";
}

enum { SOLUTION_MAX = 4000 };

/* Lines that begin as a border does are quoted, control characters are blanks; a solution that is too long keeps its head and its tail. */
static void add_solution(moa_buf *out, const char *question, const char *s) {
    const size_t n = strlen(s);
    size_t skip_from = n, skip_to = n;
    if (n > SOLUTION_MAX) {
        skip_from = SOLUTION_MAX / 2, skip_to = n - SOLUTION_MAX / 2;
        while (skip_from > 0 && ((unsigned char)s[skip_from] & 0xC0) == 0x80) skip_from--;
        while (skip_to < n && ((unsigned char)s[skip_to] & 0xC0) == 0x80) skip_to++;
    }
    moa_buf_addf(out, "%s\n\n== solution ==\n", question);
    bool begins = true;
    for (size_t i = 0; i < n; i++) {
        if (i == skip_from) moa_buf_adds(out, " [...] "), i = skip_to;
        if (i >= n) break;
        if (begins && s[i] != ' ' && s[i] != '\t') {
            if (!strncmp(s + i, "==", 2)) moa_buf_adds(out, "> ");
            begins = false;
        }
        const char c = (unsigned char)s[i] < ' ' && s[i] != '\n' && s[i] != '\t' ? ' ' : s[i];
        moa_buf_add(out, &c, 1);
        if (c == '\n') begins = true;
    }
    moa_buf_adds(out, "\n== end ==\n\n");
}

int moa_repair_identify(moa_buf *out, const char *question, const char *solution) {
    add_solution(out, question, solution);
    return moa_buf_adds(out, "Check the solution. End with a line \"Error: misread\" if it misunderstands the question or one of its numbers, \"Error: concept\" if a step is of the wrong kind, "
                             "\"Error: computation\" if a step is calculated wrongly, \"Error: none\" if all is right.");
}

int moa_repair_ask(moa_buf *out, const char *question, const char *solution, moa_fault fault, const char *facts) {
    static const char *const task[] = {"The solution misunderstands the question or one of its numbers. Read the question again, then solve it.",
                                       "A step of the solution is of the wrong kind. Think again which steps the question needs, then solve it.",
                                       "A step of the solution is calculated wrongly. Write the solution again with the right numbers."};
    add_solution(out, question, solution);
    if (facts && *facts) moa_buf_addf(out, "%s\n", facts);
    return moa_buf_adds(out, task[fault < MOA_FAULT_NONE ? fault : MOA_FAULT_COMPUTATION]);
}

static bool says(const char *line, size_t n, const char *word) {
    const size_t m = strlen(word);
    for (size_t i = 0; i + m <= n; i++)
        if (!strncasecmp(line + i, word, m)) return true;
    return false;
}

bool moa_fault_parse(moa_fault *out, const char *reply, size_t n) {
    static const char *const words[][3] = {{"misread", "comprehension", "misunderst"}, {"concept", "wrong kind", "approach"}, {"comput", "calcul", "arithm"}, {"none", "no error", "nothing"}};
    static const char key[] = "error:";
    for (size_t i = n; i-- > 0;) {
        if (n - i < sizeof key - 1 || strncasecmp(reply + i, key, sizeof key - 1) != 0) continue;
        const char *line = reply + i + sizeof key - 1, *stop = memchr(line, '\n', n - (size_t)(line - reply));
        const size_t len = stop ? (size_t)(stop - line) : n - (size_t)(line - reply);
        for (int f = 0; f <= MOA_FAULT_NONE; f++)
            for (int k = 0; k < 3; k++)
                if (says(line, len, words[f][k])) return *out = (moa_fault)f, true;
        return false;
    }
    return false;
}

int moa_repair_facts(moa_buf *out, const char *solution) {
    enum { LOOK_AT = 256, TELL = 8 };
    moa_equation e[LOOK_AT];
    int wrong = 0;
    const int n = moa_calc_find(e, LOOK_AT, solution, strlen(solution));
    for (int i = 0; i < n; i++) {
        if (e[i].right) continue;
        if (wrong++ < TELL) moa_buf_addf(out, "%s%.*s is %.12g, not %.*s.", wrong > 1 ? "\n" : "", (int)e[i].n_expr, e[i].expr, e[i].value, (int)(e[i].n_result < 40 ? e[i].n_result : 40), e[i].result);
    }
    return wrong;
}
