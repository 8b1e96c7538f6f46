# schema_ref.py - random JSON schemas, instances of them, and a validator of its own, for test_schema.c.
#   schema_ref.py make N    JSON lines {"schema", "yes": texts that must be allowed, "maybe": [[text, is it valid]]}
#   schema_ref.py check     reads {"schema", "text"} lines; exits 1 and tells the first text that is no valid JSON of its schema
# Numbers are decimals, as they are written. Where the package jsonschema is installed, it is asked too.
# SPDX-License-Identifier: Apache-2.0
import datetime, ipaddress, json, random, re, sys, uuid
from decimal import Decimal

try: import jsonschema
except ImportError: jsonschema = None


def resolve(root, ref):
    at = root
    for step in ref[2:].split("/"):
        at = at[step.replace("~1", "/").replace("~0", "~")]
    return at


def is_type(v, t):
    if t == "boolean" or isinstance(v, bool): return t == "boolean" and isinstance(v, bool)
    if t == "integer": return isinstance(v, int) or isinstance(v, (float, Decimal)) and v == int(v)
    return isinstance(v, {"object": dict, "array": list, "string": str, "null": type(None), "number": (int, float, Decimal)}[t])


def exact(v): return Decimal(repr(v)) if isinstance(v, float) else v


def equal(a, b):
    if type(a) is not type(b) and not (is_type(a, "number") and is_type(b, "number")): return False
    if isinstance(a, list) and isinstance(b, list): return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict): return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, bool) or isinstance(b, bool): return a is b
    return exact(a) == exact(b)


def fits(v, format): # by other means than a regular expression, where there are some
    try:
        if format == "date": return len(v) == 10 and bool(datetime.date.fromisoformat(v))
        if format == "time": return bool(re.fullmatch(r"\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", v)) and bool(datetime.time.fromisoformat(re.sub(r"\.\d+|Z", "", v)))
        if format == "date-time": return v[10:11] == "T" and fits(v[:10], "date") and fits(v[11:], "time")
        if format == "ipv4": return bool(ipaddress.IPv4Address(v))
        if format == "ipv6": return "%" not in v and bool(ipaddress.IPv6Address(v) or True)
        if format == "uuid": return len(v) == 36 and str(uuid.UUID(v)) == v.lower()
    except ValueError: return False
    if format == "hostname": return len(v) > 0 and all(re.fullmatch("[a-z0-9-]{1,63}", x, re.I) and x[0] != "-" and x[-1] != "-" for x in v.split("."))
    if format == "email": return v.count("@") == 1 and "." in v.split("@")[1] and fits(v.split("@")[1], "hostname") and bool(v.split("@")[0]) and not re.search(r"[\s\"(),:;<>@\[\\\]]", v.split("@")[0])
    if format == "uri": return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:([!#$&-;=?@_~A-Za-z]|%[0-9A-Fa-f]{2})+", v)) and v.count("#") < 2
    if format == "duration": return v not in ("P", "PT") and not v.endswith("T") and bool(re.fullmatch(r"P(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?)", v))
    raise KeyError(format)


# narrow: an object that lists properties has no others unless additionalProperties says so.
def valid(v, s, root, narrow=False):
    if s is True or s is False: return s
    if "not" in s and valid(v, s["not"], root): return False
    if "$ref" in s and not valid(v, resolve(root, s["$ref"]), root, narrow): return False
    if "type" in s and not any(is_type(v, t) for t in ([s["type"]] if isinstance(s["type"], str) else s["type"])): return False
    if "const" in s and not equal(v, s["const"]): return False
    if "enum" in s and not any(equal(v, e) for e in s["enum"]): return False
    if not all(valid(v, t, root, narrow) for t in s.get("allOf", [])): return False
    if "anyOf" in s and not any(valid(v, t, root, narrow) for t in s["anyOf"]): return False
    if "oneOf" in s and sum(valid(v, t, root, narrow) for t in s["oneOf"]) != 1: return False
    if isinstance(v, str):
        if len(v) < s.get("minLength", 0) or len(v) > s.get("maxLength", 1 << 30): return False
        if "pattern" in s and not re.search(s["pattern"], v): return False
        if "format" in s and not fits(v, s["format"]): return False
    if isinstance(v, (int, float, Decimal)) and not isinstance(v, bool):
        n = exact(v)
        if "minimum" in s and n < exact(s["minimum"]) or "maximum" in s and n > exact(s["maximum"]): return False
        if "exclusiveMinimum" in s and n <= exact(s["exclusiveMinimum"]) or "exclusiveMaximum" in s and n >= exact(s["exclusiveMaximum"]): return False
        if "multipleOf" in s and n % exact(s["multipleOf"]) != 0: return False
    if isinstance(v, list):
        if len(v) < s.get("minItems", 0) or len(v) > s.get("maxItems", 1 << 30): return False
        p = s.get("prefixItems", [])
        if not all(valid(e, t, root, narrow) for e, t in zip(v, p)): return False
        if s.get("uniqueItems") and any(equal(v[i], v[k]) for i in range(len(v)) for k in range(i)): return False
        if "items" in s and not all(valid(e, s["items"], root, narrow) for e in v[len(p):]): return False
    if isinstance(v, dict):
        if len(v) < s.get("minProperties", 0) or len(v) > s.get("maxProperties", 1 << 30): return False
        if "propertyNames" in s and not all(valid(k, s["propertyNames"], root, narrow) for k in v): return False
        if not all(valid(e, t, root, narrow) for p, t in s.get("patternProperties", {}).items() for k, e in v.items() if re.search(p, k)): return False
        props = s.get("properties", {})
        if any(k not in v for k in s.get("required", [])): return False
        if not all(valid(v[k], t, root, narrow) for k, t in props.items() if k in v): return False
        if narrow and props and "additionalProperties" not in s and any(k not in props for k in v): return False
        if "additionalProperties" in s and not all(valid(e, s["additionalProperties"], root, narrow) for k, e in v.items() if k not in props): return False
    return True


FORMATS = {"date": ["2024-02-29", "1999-12-31"], "time": ["23:59:59Z", "01:02:03.5+01:30"], "date-time": ["2000-02-29T00:00:00Z"], "ipv4": ["1.2.3.4", "255.255.0.10"], "uuid": [str(uuid.UUID(int=7 << 90))],
           "ipv6": ["::", "1::8", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4", "a:b::c:d"], "email": ["a.b@c.de", "x@y-z.org"], "hostname": ["a", "a-b.c.d"], "uri": ["http://a.b/c?d#e", "mailto:x@y"], "duration": ["P1D", "PT5M", "P2W"]}
NAMES = ["a", "ab", "b", "name", "x y", "\u00e9", "q\"uote", "na"]
PATTERNS = [("^[a-c]{2,4}$", lambda r: "".join(r.choice("abc") for _ in range(r.randint(2, 4)))), ("^(x|yy)+\\d?$", lambda r: r.choice(["x", "yyx", "xx7", "yy0"])),
            ("b\"", lambda r: r.choice(["b\"", "ab\"c", "\u00e9b\"\n"])), ("^\\S*\\.[^.]+$", lambda r: r.choice(["a.b", ".x", "..q"]))]


def make(r, depth, defs=True):
    kind = r.randrange(9 if depth else 5)
    if kind == 0:
        lo, hi = sorted([r.randint(-10 ** r.randint(0, 6), 10 ** r.randint(0, 6)) for _ in "ab"])
        return r.choice([{"type": "integer"}, {"type": "integer", "multipleOf": r.choice([2, 3, 5, 7, 10, 12, 100, 365, 1000, 1024, 0.5, 2.5])}, {"type": "integer", "minimum": lo, "maximum": hi + 3000, "multipleOf": r.choice([2, 9, 25, 60, 1000, 1.5])},
                         {"type": "integer", "minimum": lo}, {"type": "integer", "minimum": lo, "maximum": hi}, {"type": "integer", "exclusiveMinimum": lo - 1, "maximum": hi + 1},
                         {"type": "integer", "maximum": lo}])
    if kind == 1:
        lo, hi = sorted([round(r.uniform(-1, 1) * 10 ** r.randint(0, 4), r.randint(0, 4)) for _ in "ab"])
        if lo == hi: hi += 1
        return r.choice([{"type": "number"}, {"type": "number", "multipleOf": r.choice([0.01, 0.1, 0.25, 0.5, 2.5, 3, 0.007])}, {"type": "number", "exclusiveMinimum": lo, "maximum": hi + 100, "multipleOf": r.choice([0.01, 0.3, 0.125, 10])},
                         {"type": "number", "minimum": lo}, {"type": "number", "minimum": lo, "maximum": hi}, {"type": "number", "exclusiveMinimum": lo, "exclusiveMaximum": hi},
                         {"type": "number", "exclusiveMaximum": hi}])
    if kind == 2:
        n = r.randint(0, 4)
        return r.choice([{"type": "string"}, {"type": "string", "minLength": n, "maxLength": n + r.randint(0, 9)}, {"type": "string", "minLength": n}, {"type": "string", "pattern": r.choice(PATTERNS)[0]},
                         {"type": "string", "pattern": r.choice(PATTERNS)[0], "minLength": r.randint(0, 3), "maxLength": r.randint(3, 9)}, {"type": "string", "format": r.choice(list(FORMATS))},
                         {"type": "string", "pattern": r.choice(PATTERNS)[0], "maxLength": r.randint(3, 40)}])
    if kind == 3: return r.choice([{"enum": r.sample(["a", "b\"c", 1, 2.5, None, True, [1, "x"], {"k": []}], r.randint(1, 4))}, {"const": "c\n"}, {"type": "boolean"}, {"type": "null"}])
    if kind == 4: return r.choice([True, {"type": ["string", "null"]}, {"type": ["integer", "boolean"], "minimum": 3}, {"$ref": "#/$defs/tree"} if defs else {}])
    if kind == 5 and r.random() < 0.3:
        s = {"type": "object", "additionalProperties": make(r, depth - 1, defs), "minProperties": r.randint(0, 1)}
        if r.random() < 0.5: s["maxProperties"] = r.randint(1, 3)
        if r.random() < 0.3: s["propertyNames"] = r.choice([{"maxLength": 3}, {"pattern": "^[a-z]+$"}, {"enum": ["k", "l"]}])
        elif r.random() < 0.3: s["patternProperties"] = {"^[a-z]{1,3}$": s.pop("additionalProperties")}
        return s
    if kind < 7:
        names = r.sample(NAMES, r.randint(0, 5))
        s = {"type": "object", "properties": {k: make(r, depth - 1, defs) for k in names}, "required": [k for k in names if r.random() < 0.5]}
        if names and not s["required"] and r.random() < 0.4: s["minProperties"] = 1
        extra = r.randrange(4)
        if extra == 0: s["additionalProperties"] = False
        elif extra == 1: s["additionalProperties"] = make(r, 0, False)
        return s
    if kind == 7:
        lo = r.randint(0, 3)
        if r.random() < 0.25: # different values of a few
            s = {"type": "array", "items": {"enum": r.sample(["a", "b\"c", 1, 2.5, None, True, False, "\u00e9", 0, -7], r.randint(3, 6))}, "uniqueItems": True, "minItems": lo}
            if r.random() < 0.5: s["maxItems"] = r.randint(lo, 4)
            return s
        s = {"type": "array", "items": make(r, depth - 1, defs)}
        if r.random() < 0.6: s["minItems"] = lo
        if r.random() < 0.6: s["maxItems"] = lo + r.randint(0, 3)
        if r.random() < 0.3: s["prefixItems"] = [make(r, depth - 1, defs) for _ in range(2)]
        return s
    if r.random() < 0.3: return {"oneOf": [{"type": "integer"}, {"type": "string"}, {"type": "object", "properties": {"k": make(r, 0, defs)}, "required": ["k"]}]}
    if r.random() < 0.5: return {"allOf": [{"type": "object", "properties": {"p": {"type": "integer", "minimum": 0}}}, {"properties": {"p": {"maximum": 9}, "q": make(r, 0, defs)}, "required": ["p"]}]}
    return {"anyOf": [make(r, depth - 1, defs) for _ in range(r.randint(1, 3))] + ([{"not": {}}] if r.random() < 0.3 else [])}


TREE = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/tree"}, {"type": "null"}]}}, "required": ["v"]}


def anything(r, depth=2):
    k = r.randrange(8 if depth else 6)
    if k < 6: return r.choice([None, True, False, r.randint(-200, 200), round(r.uniform(-50, 50), 2), "".join(r.choice("abcxy \"\u00e9\n.7") for _ in range(r.randint(0, 6)))])
    if k == 6: return [anything(r, depth - 1) for _ in range(r.randint(0, 4))]
    return {r.choice(NAMES): anything(r, depth - 1) for _ in range(r.randint(0, 3))}


def as_number(d): return int(d) if d == int(d) else float(d)


# An instance by the narrow reading: properties in order, no others unless additionalProperties says so. None of it is sure: callers ask valid().
def instance(r, s, root):
    if s is True or s == {}: return anything(r, 1)
    if "$ref" in s: return instance(r, resolve(root, s["$ref"]), root)
    if "const" in s: return s["const"]
    if "enum" in s: return r.choice(s["enum"])
    if "not" in s: return anything(r, 1)
    if "anyOf" in s: return instance(r, r.choice(s["anyOf"]), root)
    if "oneOf" in s: return instance(r, r.choice(s["oneOf"]), root)
    if "allOf" in s: return {"p": r.randint(0, 9)}
    if "type" not in s: return anything(r, 1)
    t = s["type"] if isinstance(s["type"], str) else r.choice(s["type"])
    if t == "null": return None
    if t == "boolean": return r.random() < 0.5
    if t in ("integer", "number"):
        lo = s.get("minimum", s.get("exclusiveMinimum", -1000))
        hi = s.get("maximum", s.get("exclusiveMaximum", max(lo, 0) + 1000))
        lo = min(lo, hi)
        if "multipleOf" in s: return as_number(exact(s["multipleOf"]) * r.randint(int(Decimal(lo) // exact(s["multipleOf"])), int(Decimal(hi) // exact(s["multipleOf"]))))
        return r.choice([int(lo), int(hi), r.randint(int(lo), max(int(lo), int(hi)))]) if t == "integer" else r.choice([lo, hi, round(r.uniform(lo, hi), r.randint(0, 6))])
    if t == "string":
        if "format" in s: return r.choice(FORMATS[s["format"]])
        for p, f in PATTERNS:
            if s.get("pattern") == p: return f(r)
        n = s.get("minLength", 0)
        return "".join(r.choice("ab \"\\\u00e9\u20ac\U0001f600\n/") for _ in range(r.randint(n, s.get("maxLength", n + 5))))
    if t == "array":
        p = s.get("prefixItems", [])
        return [instance(r, p[i] if i < len(p) else s["items"], root) for i in range(r.randint(s.get("minItems", 0), s.get("maxItems", s.get("minItems", 0) + 3)))]
    if "properties" not in s: return {k: instance(r, list(s.get("patternProperties", {0: s.get("additionalProperties")}).values())[0], root) for k in r.sample(["k", "l", "ab"] if "patternProperties" in s else ["k", "l", "ab", "x1"], r.randint(0, 3))}
    out = {k: instance(r, v, root) for k, v in s["properties"].items() if k in s["required"] or r.random() < 0.5}
    if isinstance(s.get("additionalProperties"), dict) and r.random() < 0.5: out["zz"] = instance(r, s["additionalProperties"], root)
    return out


# Values of an enum are spelled in one way only.
def write(r, v, s): return json.dumps(v, ensure_ascii=False, separators=(",", ":") if '"enum"' in json.dumps(s) else r.choice([(",", ":"), (", ", ": ")]))


def main():
    if sys.argv[1] == "make":
        for seed in range(int(sys.argv[2])):
            r = random.Random(seed)
            s = make(r, 3)
            s = dict(s) if isinstance(s, dict) else {}
            s["$defs"] = {"tree": TREE}
            yes, maybe = [], []
            for _ in range(12):
                v = instance(r, s, s)
                text, ok = write(r, v, s), bool(valid(v, s, s))
                if ok and valid(v, s, s, True) and not re.search(r"[0-9]e|-0\b|[0-9]\.0\b", text): yes.append(text) # spellings of numbers that the grammar leaves out
                else: maybe.append([text, ok])
                w = anything(r)
                maybe.append([write(r, w, s), bool(valid(w, s, s))])
            print(json.dumps({"schema": s, "yes": yes, "maybe": maybe}))
        return
    n = 0
    for line in sys.stdin:
        case = json.loads(line, parse_float=Decimal)
        n += 1
        try: v = json.loads(case["text"], parse_float=Decimal)
        except ValueError as e: sys.exit("no JSON: %s: %r" % (e, case["text"]))
        if not valid(v, case["schema"], case["schema"]): sys.exit("not valid: %r\nschema: %s" % (case["text"], line))
        if jsonschema and not jsonschema.Draft202012Validator(case["schema"]).is_valid(v): sys.exit("not valid, says jsonschema: %r\nschema: %s" % (case["text"], line))
    print("%d texts are valid%s" % (n, ", says jsonschema too" if jsonschema else ""))


main()
