/* base64.h - RFC 4648, section 4: how vectors of embeddings travel. SPDX-License-Identifier: Apache-2.0 */
#ifndef MOA_SERVE_BASE64_H
#define MOA_SERVE_BASE64_H

#include "base/buf.h"

int moa_base64_add(moa_buf *out, const void *bytes, size_t n);

#endif
