/* nearest.c - edit distance for hints. Adjacent swaps count once (the restricted form of Damerau, "A technique for computer
 * detection and correction of spelling errors", 1964): they are the commonest slip.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/nearest.h"

#include <string.h>

enum { MAX = 31 }; /* what lies behind in longer names is not compared */

static int min2(int a, int b) { return a < b ? a : b; }

static int distance(const char *a, const char *b) {
    int d[MAX + 1][MAX + 1], na = (int)strnlen(a, MAX), nb = (int)strnlen(b, MAX);
    for (int i = 0; i <= na; i++) d[i][0] = i;
    for (int j = 0; j <= nb; j++) d[0][j] = j;
    for (int i = 1; i <= na; i++)
        for (int j = 1; j <= nb; j++) {
            d[i][j] = min2(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]), min2(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = min2(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[na][nb];
}

const char *moa_nearest(const char *name, const char *const *names, int n) {
    const char *best = NULL;
    const int length = (int)strnlen(name, MAX);
    int best_d = MAX;
    for (int i = 0; i < n; i++) {
        const int other = (int)strnlen(names[i], MAX), longer = other > length ? other : length;
        const int d = distance(name, names[i]), most = longer > 3 ? longer / 3 : 1; /* a slip for each three letters */
        if (d <= most && d < best_d) best_d = d, best = names[i];
    }
    return best;
}
