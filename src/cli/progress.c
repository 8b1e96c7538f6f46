/* progress.c - one line on stderr that replaces itself while work goes on (live.h).
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/live.h"

#include <stdarg.h>
#include <unistd.h>

void moa_progress_line(bool quiet, const char *fmt, ...) {
    char line[1024] = "";
    if (quiet || !isatty(STDERR_FILENO)) return;
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(line, sizeof line, fmt, ap);
        va_end(ap);
    }
    moa_term_status(line);
}
