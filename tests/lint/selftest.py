"""Shows that each lint can fail: made-up trees, the fault each must name, and a good tree that has none."""

import os
import subprocess
import sys
import tempfile

LINTS = os.path.dirname(os.path.abspath(__file__))

CMAKE = """\
floor(base      proxy/base    Threads::Threads)
floor(wire      proxy/wire    base)
floor(allowlist allowlist     base)
floor(conf      conf          base)
floor(net       proxy/net     base PkgConfig::UV)
floor(session   proxy/session base wire net)
"""

GOOD = {
    "CMakeLists.txt": CMAKE,
    "proxy/base/buf.h": "#include <stddef.h>\n",
    "proxy/base/buf.c": '#include "proxy/base/buf.h"\n\n#include <string.h>\n',
    "proxy/wire/head.h": '#include "proxy/base/buf.h"\n',
    "proxy/wire/head.c": '#include "proxy/wire/head.h"\n\n#include <http_parser.h>\n',
    "allowlist/rules.h": "/* strcpy( and SSL_read( are only named here */\n",
    "conf/settings.h": "",
    "conf/settings.c": '#include "conf/settings.h"\n\nstatic const char *text = "system(";\n',
    "proxy/net/stream.h": "#include <uv.h>\n",
    "proxy/net/stream_tls.c": "#include <openssl/ssl.h>\n\nSSL_CTX *ctx;\n",
    "proxy/net/tls_key.h": "",
    "proxy/session/tunnel.h": "",
    "proxy/session/tunnel.c": '#include "proxy/session/tunnel.h"\n\n#include "proxy/net/stream.h"\n',
    "proxy/server.h": "",
    "proxy/server.c": '#include "proxy/server.h"\n\n#include "conf/settings.h"\n#include "allowlist/rules.h"\n',
    "tests/unit/wire/test_head.c": '#include "proxy/wire/head.h"\n',
}


def function(lines, head="static int long_one(int a,\n                    int b)"):
    """A function whose body, braces included, has so many lines."""
    return f"{head}\n{{\n" + "    a++;\n" * (lines - 2) + "}\n"


# (lint, file, its text, what the lint must print; None: nothing)
CASES = [
    ("includes", "proxy/base/buf.h", '#include "proxy/wire/head.h"\n', "buf.h:1: upward include of proxy/wire/head.h"),
    ("includes", "proxy/wire/a.h", '#include "conf/settings.h"\n', "a.h:1: sideways include of conf/settings.h"),
    ("includes", "proxy/net/a.h", '#include "allowlist/rules.h"\n', "proxy/net/ is not linked with allowlist/"),
    ("includes", "proxy/session/a.h", '#include "proxy/server.h"\n', "upward include of proxy/server.h"),
    ("includes", "proxy/extra/a.h", '#include "proxy/base/buf.h"\n', "proxy/extra/ is no floor of the house"),
    ("includes", "proxy/base/a.h", '#include "buf.h"\n', '"buf.h" is not a path from the root'),
    ("includes", "proxy/base/a.h", '#include "../base/buf.h"\n', "is not a path from the root"),
    ("includes", "proxy/base/a.h", "#include <proxy/base/buf.h>\n", "in angle brackets"),
    ("includes", "proxy/base/a.h", "/*\n*/\n#  include <uv.h>\n", "a.h:3: <uv.h> may only be included by"),
    ("includes", "proxy/base/a.h", '#include "tests/unit/x.h"\n', '"tests/unit/x.h" is not a path'),
    ("includes", "proxy/base/buf.c", '#include <string.h>\n#include "proxy/base/buf.h"\n', "its own header"),
    ("includes", "proxy/worker.c", '#include "conf/settings.h"\n', "worker.c:1: conf/settings.h: only"),
    ("includes", "proxy/session/a.h", '#include "conf/settings.h"\n', "a.h:1: conf/settings.h: only"),
    ("includes", "proxy/snapshot.h", '#include "conf/settings.h"\n', "snapshot.h:1: conf/settings.h: only"),
    ("includes", "proxy/snapshot.c", '#include "conf/settings.h"\n', None),
    ("includes", "proxy/session/tunnel.c",
     '#include "proxy/session/tunnel.h"\nint x(void)\n{\n    return SSL_read(0, 0, 0);\n}\n',
     "tunnel.c:4: OpenSSL name SSL_read"),
    ("includes", "proxy/net/stream.c", "#include <openssl/bio.h>\n", "<openssl/bio.h> may only"),
    ("includes", "proxy/net/stream.h", "struct x;\nEVP_PKEY *key;\n", "stream.h:2: OpenSSL name EVP_PKEY"),
    ("includes", "proxy/base/buf.h", '#include "proxy/base/list.h"\n', None),
    ("sizes", "proxy/base/a.c", function(81), "a.c:3: long_one() has 81 lines"),
    ("sizes", "proxy/base/a.c", function(80), None),
    ("sizes", "tests/unit/base/test_a.c", function(90, "void test_a(void **state)"), "test_a() has 90 lines"),
    ("sizes", "proxy/base/a.c", "static const int table[] =\n{\n" + "    1,\n" * 90 + "};\n", None),
    ("sizes", "proxy/base/a.c", "\n" * 801, "a.c:1: 801 lines"),
    ("sizes", "proxy/base/a.c", "\n" * 800, None),
    ("banned", "proxy/base/a.c", "\n    strcpy(a, b);\n", "a.c:2: strcpy()"),
    ("banned", "proxy/base/a.c", "x = atoi (b);\n", "a.c:1: atoi()"),
    ("banned", "proxy/base/a.c", "/* a\n b */ (void)system(b);\n", "a.c:2: system()"),
    ("banned", "tests/unit/base/test_a.c", "sprintf(a, b);\n", "test_a.c:1: sprintf()"),
    ("banned", "tests/unit/base/test_a.c", "usleep(1);\n", None),
    ("banned", "proxy/base/a.c", "usleep(1);\n", "a.c:1: usleep()"),
    ("banned", "proxy/net/a.c", "getaddrinfo(a, b, c, d);\n", "a.c:1: getaddrinfo()"),
    ("banned", "proxy/base/a.c", "pipe_gets(a); p->system(1); strtok_r(a, b, c); fgets(a, 1, f);\n", None),
    ("banned", "proxy/base/a.c", "char c = '\"'; strcat(a, b); c = '\"';\n", "a.c:1: strcat()"),
]  # fmt: skip

# Whole trees for what takes two files.
CIRCLE = {
    "proxy/session/a.h": "",
    "proxy/session/a.c": '#include "proxy/session/a.h"\n#include "proxy/session/b.h"\n',
    "proxy/session/b.h": "",
    "proxy/session/b.c": '#include "proxy/session/b.h"\n#include "proxy/session/a.h"\n',
}
# One module in several files, whose parts share a header of their own.
FAMILY = {
    "proxy/session/a.h": "",
    "proxy/session/a_impl.h": '#include "proxy/session/a.h"\n',
    "proxy/session/a.c": '#include "proxy/session/a.h"\n#include "proxy/session/a_impl.h"\n',
    "proxy/session/part.c": '#include "proxy/session/a_impl.h"\n',
}
FAMILY_CIRCLE = dict(FAMILY, **{
    "proxy/session/part.c": '#include "proxy/session/a_impl.h"\n#include "proxy/session/b.h"\n',
    "proxy/session/b.h": '#include "proxy/session/a.h"\n',
})  # fmt: skip
# A threat model of one promise and one limit, and what these speak of.
PROMISE = "- **P1** Good. `tests/unit/wire/test_head.c::test_good`,\n  `tests/functional/test_x.py::test_y`\n"
OPEN = "- **N1** Not tested.\n"
HEADER = "| key | default | unit | over it | outcome | metric | test |\n| --- | --- | --- | --- | --- | --- | --- |\n"
LIMIT = "| `limit.head` | 64KiB | octets | refused | `too-large` 431, `cut` | `certferry_heads_total` | none yet |\n"
FREE = "| `drain.grace` | empty | time | | | | `tests/fuzz/fuzz_head.c` |\n"
MODEL = PROMISE + OPEN + HEADER + LIMIT + FREE
PROMISES = {
    "docs/threat-model.md": MODEL,
    "conf/settings.h": 'S(limit_head, "limit.head", WEBSERVER, SIZE,   \\\n  "64KiB", 1, 2) \\\n'
    'S(drain, "drain.grace", WEBSERVER, TEXT, "", 0, 0)\n',
    "proxy/base/outcome.h": 'X(BIG, "too-large", 431, "x", "y") X(CUT, "cut", 0, NULL, "z") // heads_total\n',
    "tests/unit/wire/test_head.c": '#include "proxy/wire/head.h"\nstatic void test_good(void **state)\n',
    "tests/fuzz/fuzz_head.c": "",
    "tests/functional/test_x.py": "def test_y(proxy):\n    pass\n",
}


def model(text, *changes):
    """The threat model with this text changed, or added."""
    page = MODEL.replace(text, changes[0]) if changes else MODEL + text
    return dict(PROMISES, **{"docs/threat-model.md": page})


MODELS = [
    (PROMISES, None),
    (model("- **P2** Bad.\n"), "P2 names no test"),
    (model("- **P2** Bad. `tests/support/x.py` tests/fuzz/fuzz_head.c\n"), "P2 names no test"),
    (model("- **P1** Again. `tests/fuzz/fuzz_head.c`\n"), "P1 stands behind P1"),
    (model(PROMISE, ""), "no promise found"),
    (model(OPEN, "- **N1** Tested. `tests/fuzz/fuzz_head.c`\n"), "threat-model.md:3: N1 names a test"),
    (model("::test_good", "::test_goo"), "threat-model.md:1: tests/unit/wire/test_head.c has no test_goo"),
    (model("::test_y", "::test_z"), "threat-model.md:2: tests/functional/test_x.py has no test_z"),
    (model("test_x.py", "test_z.py"), "tests/functional/test_z.py is not there"),
    (model("fuzz_head", "fuzz_body"), "tests/fuzz/fuzz_body.c is not there"),
    (model("Text of `tests/lint/x.py`.\n"), "tests/lint/x.py is not there"),
    (model(LIMIT, ""), "no row for limit.head"),
    (model(FREE, ""), None),
    (model(LIMIT), "limit.head stands twice"),
    (model("limit.head", "limit.heads"), "conf/settings.h has no key limit.heads"),
    (model("64KiB", "32KiB"), "the default of limit.head is 64KiB"),
    (model("431", "413"), "the status of too-large is 431"),
    (model("`cut`", "`shut`"), "outcome.h has no outcome shut"),
    (model("heads_total", "feet_total"), "no metric certferry_feet_total"),
    (model("none yet", ""), 'limit.head names no test, nor "none yet"'),
    (model("| key | default |", "| key | unit |"), "the columns are"),
    (model("| refused |", "|"), "6 columns, 7 are due"),
    (dict(PROMISES, **{"conf/settings.h": ""}), "nothing found in their tables"),
    ({}, "docs/threat-model.md is not there"),
]
TREES = [
    ("includes", FAMILY, None),
    ("includes", FAMILY_CIRCLE, "circle of modules: proxy/session/a -> proxy/session/b -> proxy/session/a"),
    ("includes", CIRCLE, "circle of modules: proxy/session/a -> proxy/session/b -> proxy/session/a"),
    ("includes", None, "no file found to look at"),
    ("sizes", None, "no file found to look at"),
    ("banned", None, "no file found to look at"),
]


def run(lint, tree):
    """(exit status, output) of the lint over the tree."""
    with tempfile.TemporaryDirectory() as root:
        for path, text in tree.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as file:
                file.write(text)
        command = [sys.executable, os.path.join(LINTS, lint + ".py"), root]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode, done.stdout


def check(lint, tree, expected, what):
    """True if the lint names exactly the fault that was made, or none if none was."""
    status, output = run(lint, tree)
    good = status == 0 if expected is None else status == 1 and expected in output
    if not good:
        print(f"{lint}: {what}\n  expected: {expected or 'no fault'}\n  status {status}: {output}")
    return good


def main():
    results = [check(lint, GOOD, None, "the good tree") for lint in ("includes", "sizes", "banned")]
    for lint, path, text, expected in CASES:
        tree = dict(GOOD, **{"proxy/base/list.h": "", path: text})
        results.append(check(lint, tree, expected, f"{path}: {text[:60]!r}"))
    for lint, files, expected in TREES:
        tree = {"CMakeLists.txt": CMAKE} if files is None else dict(GOOD, **files)
        results.append(check(lint, tree, expected, "a whole tree"))
    for files, expected in MODELS:
        results.append(check("promises", dict(GOOD, **files), expected, "a threat model"))
    print(f"selftest: {len(results)} cases, {results.count(False)} failed")
    return 1 if False in results else 0


if __name__ == "__main__":
    sys.exit(main())
