/* commands.c - the registry of commands (commands.def); apart from main.c, so that tests can link it.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#define COMMAND(x) extern const moa_command moa_command_##x;
#include "cli/commands.def"
#undef COMMAND

static const moa_command *const table[] = {
#define COMMAND(x) &moa_command_##x,
#include "cli/commands.def"
#undef COMMAND
    NULL,
};

const moa_command *const *moa_commands(int *n) {
    *n = (int)(sizeof table / sizeof *table) - 1;
    return table;
}
