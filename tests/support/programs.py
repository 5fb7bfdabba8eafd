"""Starts other programs in an environment where nothing of ours bends them: no proxy, no trust store, own home."""

import os
import subprocess

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# What our own build reads when it runs under a sanitizer; everything else is left behind.
INHERITED = ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS")


def environment(home, **more):
    """A child's whole environment; a value of None takes a variable away."""
    variables = {"PATH": PATH, "HOME": str(home), "TMPDIR": str(home), "LC_ALL": "C.UTF-8", **more}
    return {name: str(value) for name, value in variables.items() if value is not None}


def sanitizer_options(status):
    """The sanitizers' variables as given, with an exit status that no program of ours uses itself."""
    variables = {name: os.environ[name] for name in INHERITED if name in os.environ}
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
        more = f"exitcode={status}" + (":halt_on_error=1" if name == "UBSAN_OPTIONS" else "")
        variables[name] = ":".join(filter(None, [variables.get(name), more]))
    return variables


def run(home, *arguments, stdin=b"", timeout=90, cwd=None, **variables):
    """Runs to the end; stdout and stderr are bytes. Variables are given in lower or upper case, as they must be set."""
    return subprocess.run(
        [str(argument) for argument in arguments],
        env=environment(home, **variables),
        cwd=cwd or home,
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


TOLD_MAX = 8000


def told(done):
    """What a finished program said, for the message of a failed assertion and for words looked for in it."""
    said = [stream.decode(errors="backslashreplace")[-TOLD_MAX:] for stream in (done.stdout, done.stderr)]
    return "\n".join([f"exit {done.returncode}", *said])
