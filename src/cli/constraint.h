/* constraint.h - the options that say what a reply may be: --grammar and --json-schema, each a file or the text itself.
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_CONSTRAINT_H
#define MOA_CLI_CONSTRAINT_H

#include "cli/cli.h"

#define MOA_CONSTRAINT_OPTS                                                                                                       \
    {"--grammar", NULL, MOA_OPT_STR, "FILE|TEXT", "replies follow this GBNF grammar", 0, 0},                                      \
        {"--json-schema", NULL, MOA_OPT_STR, "FILE|TEXT", "replies are JSON that this schema allows", 0, 0}

/* *out NULL when neither option is given. Both at once are wrong use. */
int moa_cli_constraint(moa_grammar **out, const moa_optval *grammar, const moa_optval *schema, moa_err *err);

#endif
