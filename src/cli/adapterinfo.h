/* adapterinfo.h - moa info of an adapter. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_CLI_ADAPTERINFO_H
#define MOA_CLI_ADAPTERINFO_H

#include "moa.h"

int moa_cli_adapter_info(const char *path, bool json, bool all, moa_err *err);

#endif
