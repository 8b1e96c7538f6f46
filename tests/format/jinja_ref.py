"""jinja_ref.py - what the real Jinja2 prints, set up as Hugging Face sets it up for chat templates.

Reads JSON lines {"template", "vars"}, writes one JSON line each: {"text"} or {"error"}.
SPDX-License-Identifier: Apache-2.0
"""
import datetime
import functools
import json
import os
import sys

import jinja2
import jinja2.ext


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.TemplateError(message)


def strftime_now(form):
    return datetime.datetime.fromtimestamp(int(os.environ.get("JINJA_REF_NOW", "1700000000"))).strftime(form)


env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
env.filters["tojson"] = tojson
env.globals.update(raise_exception=raise_exception, strftime_now=strftime_now)

compiled = functools.lru_cache(maxsize=64)(env.from_string)  # a template comes with many conversations

for line in sys.stdin:
    case = json.loads(line)
    try:
        answer = {"text": compiled(case["template"]).render(**case["vars"])}
    except Exception as error:  # any failure of the template counts as one
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
