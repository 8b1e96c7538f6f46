/* constraint.c - see constraint.h. A value is a file when there is one of that name; else it is the text, if it looks like one:
 * a grammar has "::=", a schema begins with "{", so that a mistyped file name is told as such.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/constraint.h"

#include "base/err.h"
#include "base/file.h"
#include "format/grammar.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_text(const char *s, bool schema) {
    if (!schema) return strstr(s, "::=") != NULL;
    s += strspn(s, " \t\r\n");
    return *s == '{' || !strcmp(s, "true");
}

static int read(moa_grammar **out, const char *arg, bool schema, moa_err *err) {
    int (*make)(moa_grammar **, const char *, size_t, const char *, moa_err *) = schema ? moa_grammar_from_schema : moa_grammar_parse;
    struct stat st;
    const bool file = !strcmp(arg, "-") || (strlen(arg) < 4096 && stat(arg, &st) == 0);
    if (!file && is_text(arg, schema)) return make(out, arg, strlen(arg), schema ? "--json-schema" : "--grammar", err);
    if (!file) {
        const int rc = moa_fail(err, MOA_ENOTFOUND, "%s '%.200s': no such file", schema ? "--json-schema" : "--grammar", arg);
        return moa_hint(err, rc, schema ? "a schema given as text begins with {" : "a grammar given as text looks like: root ::= \"yes\" | \"no\"");
    }
    char *text;
    size_t n;
    MOA_TRY(moa_read_file(&text, &n, arg, MOA_GRAMMAR_TEXT, err));
    const int rc = make(out, text, n, arg, err);
    free(text);
    return rc;
}

int moa_cli_constraint(moa_grammar **out, const moa_optval *grammar, const moa_optval *schema, moa_err *err) {
    *out = NULL;
    if (grammar->set && schema->set) return moa_fail(err, MOA_EUSAGE, "--grammar and --json-schema: a reply follows one of them");
    if (grammar->set) return read(out, grammar->s, false, err);
    return schema->set ? read(out, schema->s, true, err) : 0;
}
