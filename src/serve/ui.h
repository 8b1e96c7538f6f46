/* ui.h - the files of the page that moa serve shows, as they were when the program was built. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_UI_H
#define MOA_SERVE_UI_H

#include <stddef.h>

typedef struct moa_ui_file {
    const char *name;         /* in src/serve/ui/, and behind /ui/ */
    const char *type;
    const char *data, *end;
} moa_ui_file;
const moa_ui_file *moa_ui_files(int *n); /* the first is the page itself */

#endif
