/* plot.h - charts as SVG text: training curves, evaluation results. The text depends on the data alone
 * (no date, no locale), so a chart in the docs changes only when its figures do.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_PLOT_H
#define MOA_BASE_PLOT_H

#include "base/buf.h"

#include <stdbool.h>

typedef struct moa_plot_point {
    double x, y;       /* skipped when NaN, infinite, beyond 1e100, or not positive on a log axis */
    double lo, hi;     /* error bar from lo to hi; none unless lo < hi */
    const char *label; /* text beside the point, or NULL */
} moa_plot_point;

typedef struct moa_plot_series {
    const char *name; /* in the legend; NULL: not listed */
    const moa_plot_point *point;
    size_t n_point;
    bool no_line;    /* points are joined in their order unless set */
    bool no_marker;  /* a marker at each point unless set */
    bool faint;      /* thin and pale: raw values under a smoothed curve. Shares the colour of the next series */
} moa_plot_series;

typedef struct moa_plot {
    const char *title, *x_label, *y_label; /* NULL: none */
    const moa_plot_series *series;
    int n_series;
    bool log_x, log_y;
    double x_min, x_max, y_min, y_max; /* fixed range where min < max, else from the data */
    int width, height;                 /* pixels, at least 240x160; 0: 720x440 */
} moa_plot;

/* Append the chart to out. MOA_ELIMIT or MOA_ENOMEM from the buffer, MOA_EINVAL for a size out of range. */
int moa_plot_svg(moa_buf *out, const moa_plot *p);

#endif
