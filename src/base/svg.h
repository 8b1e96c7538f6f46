/* svg.h - what all SVG pictures need: numbers and texts that no locale and no name can break. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_BASE_SVG_H
#define MOA_BASE_SVG_H

#include "base/buf.h"

#include <stdbool.h>

/* v rounded to `decimals` (at most 9), all of them written or without trailing zeros. */
void moa_svg_fixed(moa_buf *b, double v, int decimals, bool all);
/* Text content or attribute value: markup escaped, control characters and bad UTF-8 replaced. */
void moa_svg_escape(moa_buf *b, const char *s);
/* Width of text in a proportional sans-serif, near enough for layout. */
double moa_svg_width(const char *s, double size);

#endif
