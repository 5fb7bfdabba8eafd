"""
Reads every #include and refuses what the house forbids:

- upward and sideways includes between the floors, and what a folder's library is not linked with in CMakeLists.txt;
- circles among modules: x.c and x.h are one module, with x_impl.h and the headless .c files that begin with that;
- includes that are not written from the root, or a .c that does not begin with its own header;
- conf/settings.h outside the server, what it binds, and what builds configuration and snapshot;
- headers of other libraries outside the floors that wrap them, and any OpenSSL name outside the TLS files:
  the tunnel never decrypts, so nothing on its path may know how to.
"""

import fnmatch
import os
import re
import sys

from source import PROGRAM, TESTS, blank, c_files, read, report, root_argument

# Lowest first; folders on one line never include each other. proxy/*.c stands above them all.
FLOORS = [
    ["proxy/base"],
    ["proxy/wire", "allowlist", "conf"],
    ["proxy/net"],
    ["failover"],
    ["proxy/control"],
    ["proxy/session"],
    ["proxy"],
]
RANK = {folder: rank for rank, folders in enumerate(FLOORS) for folder in folders}

# Who may see all settings; every other module has an options struct of its own.
SETTINGS_READERS = ["conf/*", "proxy/server.c", "proxy/configuration.[ch]", "proxy/bound.c", "proxy/snapshot*.c"]

TLS_FILES = ["proxy/net/stream_tls.[ch]", "proxy/net/tls_*.[ch]"]
DIGEST_FILES = ["proxy/session/secret_digest.c"]
# Signatures and certificates of documents, which are no TLS either.
SIGNATURE_FILES = ["failover/signature.c", "failover/signature_*.[ch]"]

# Other people's headers and the files that may include them.
EXTERNAL = {
    "uv.h": ["proxy/net/*", "failover/*", "proxy/control/*", "proxy/session/*", "proxy/*.[ch]"],
    "ares.h": ["proxy/net/*"],
    "http_parser.h": ["proxy/wire/*"],
    "idn2.h": ["allowlist/*"],
    "cjson/*": ["failover/*", "proxy/check_answer.c"],
    # Digests, which are no TLS. The first pattern that fits a header decides.
    "openssl/evp.h": TLS_FILES + DIGEST_FILES + SIGNATURE_FILES,
    "openssl/hmac.h": TLS_FILES + DIGEST_FILES,
    "openssl/crypto.h": TLS_FILES + DIGEST_FILES,
    "openssl/ssl.h": TLS_FILES,
    "openssl/*": TLS_FILES + SIGNATURE_FILES,
}
OPENSSL_NAME = re.compile(r"\b(?:SSL|BIO|EVP|X509)_\w+|\bOPENSSL_\w+")
TLS_NAME = re.compile(r"\b(?:SSL|BIO|X509)_\w+")
SSL_NAME = re.compile(r"\bSSL_\w+")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)
CMAKE_FLOOR = re.compile(r"^floor\((\w+)\s+(\S+)([^)]*)\)", re.MULTILINE)


def any_match(path, patterns):
    # fnmatch lets * cross a slash: the number of slashes must agree.
    return any(fnmatch.fnmatch(path, p) and path.count("/") == p.count("/") for p in patterns)


def includes_of(root, path):
    """[(line, quote, name)] of one file, comments left out."""
    text = blank(read(root, path), strings=False)
    return [
        (text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
        for m in INCLUDE.finditer(text)
    ]


def linked_folders(root):
    """folder -> folders its library is linked with, directly or not, after the floor() lines of CMakeLists.txt."""
    lines = CMAKE_FLOOR.findall(read(root, "CMakeLists.txt"))
    folder_of = {name: folder for name, folder, _ in lines}
    direct = {
        folder: {folder_of[word] for word in links.split() if word in folder_of}
        for _, folder, links in lines
    }

    def reach(folder, seen):
        for below in direct[folder] - seen:
            seen.add(below)
            reach(below, seen)
        return seen

    return {folder: reach(folder, set()) for folder in direct}


def check_folder(where, folder, target, linked):
    below = os.path.dirname(target)
    if folder not in RANK or below not in RANK:
        unknown = folder if folder not in RANK else below
        return [f"{where}: {unknown}/ is no floor of the house"]
    if folder == below:
        return []
    if RANK[below] > RANK[folder]:
        return [f"{where}: upward include of {target} from {folder}/"]
    if RANK[below] == RANK[folder]:
        return [f"{where}: sideways include of {target}: {folder}/ and {below}/ are one floor"]
    if folder in linked and below not in linked[folder]:
        return [f"{where}: {target}: {folder}/ is not linked with {below}/ in CMakeLists.txt"]
    return []


def check_external(where, path, name):
    for pattern, users in EXTERNAL.items():
        if fnmatch.fnmatch(name, pattern):
            return [] if any_match(path, users) else [f"{where}: <{name}> may only be included by {' '.join(users)}"]
    return []


def check_own_header(path, includes, files):
    own = path[:-2] + ".h"
    if path.endswith(".c") and own in files and (not includes or includes[0][2] != own):
        return [f'{path}:1: the first include must be its own header "{own}"']
    return []


def check_file(root, path, files, linked):
    faults = []
    includes = includes_of(root, path)
    in_tests = path.startswith(tuple(f"{folder}/" for folder in TESTS))
    for line, quote, name in includes:
        where = f"{path}:{line}"
        if quote == "<":
            if name in files:
                faults.append(f"{where}: own header {name} in angle brackets")
            elif not in_tests:
                faults += check_external(where, path, name)
        elif name not in files:
            faults.append(f'{where}: "{name}" is not a path from the root of the tree')
        elif not in_tests:
            if name.startswith(tuple(f"{folder}/" for folder in TESTS)):
                faults.append(f"{where}: the program includes {name}")
                continue
            faults += check_folder(where, os.path.dirname(path), name, linked)
            if name == "conf/settings.h" and not any_match(path, SETTINGS_READERS):
                faults.append(f"{where}: conf/settings.h: only {' '.join(SETTINGS_READERS)}")
    return faults + check_own_header(path, includes, files)


def check_openssl(root, path):
    if any_match(path, TLS_FILES):
        return []
    text = blank(read(root, path))
    forbidden = SSL_NAME if any_match(path, SIGNATURE_FILES) else OPENSSL_NAME
    if any_match(path, DIGEST_FILES):
        forbidden = TLS_NAME
    return [
        f"{path}:{text.count(chr(10), 0, m.start()) + 1}: OpenSSL name {m.group(0)} outside the TLS files"
        for m in forbidden.finditer(text)
    ]


def modules(files, includes):
    """path -> module."""

    def module(path):
        first = includes[path][0][2] if includes[path] else ""
        if path.endswith(".c") and path[:-2] + ".h" not in files and first.endswith("_impl.h"):
            path = first
        return path[:-2].removesuffix("_impl")

    return {path: module(path) for path in files}


def check_circles(root, files):
    """One line for each circle of modules, found by walking depth first."""
    includes = {path: includes_of(root, path) for path in files}
    module_of = modules(files, includes)
    edges = {}
    for path in files:
        targets = edges.setdefault(module_of[path], set())
        targets |= {module_of[name] for _, _, name in includes[path] if name in module_of}
        targets.discard(module_of[path])
    faults, done = [], set()

    def walk(module, trail):
        if module in trail:
            circle = trail[trail.index(module) :] + [module]
            faults.append(f"{module}.h: circle of modules: {' -> '.join(circle)}")
        elif module not in done:
            for target in sorted(edges[module]):
                walk(target, trail + [module])
            done.add(module)

    for module in sorted(edges):
        walk(module, [])
    return faults


def main():
    root = root_argument()
    program = c_files(root, PROGRAM)
    everything = program + c_files(root, TESTS)
    linked = linked_folders(root)
    faults = []
    for path in everything:
        faults += check_file(root, path, set(everything), linked)
    for path in program:
        faults += check_openssl(root, path)
    faults += check_circles(root, program)
    return report("includes", faults, len(program))


if __name__ == "__main__":
    sys.exit(main())
