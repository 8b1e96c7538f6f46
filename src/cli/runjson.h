/* runjson.h - a finished run as JSON. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_RUNJSON_H
#define MOA_CLI_RUNJSON_H

#include "agent/run.h"
#include "base/buf.h"

#include <stdio.h>

/* {"answer","mix","model","calls":[{"node","role","model","prompt_tokens","completion_tokens","seconds","text"}],
 *  "usage":{"prompt_tokens","completion_tokens","total_tokens","reused_prefix_tokens"},"seconds"}; beside these, a call has
 * "reused_prefix_tokens", "finish" and, when it failed, "error"; "notes" tells what went otherwise than planned. */
int moa_run_json(moa_buf *out, const moa_run *r, const char *mix, moa_err *err);
int moa_run_print_json(FILE *f, const moa_run *r, const char *mix, moa_err *err);

#endif
