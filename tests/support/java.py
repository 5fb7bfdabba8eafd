"""
Runs the Java programs of support/clients, each compiled once in a process of tests: java itself would compile a source
at every start, which takes far longer than what it is to do.
"""

import atexit
import functools
import pathlib
import shutil
import tempfile

from support import programs

CLIENTS = pathlib.Path(__file__).resolve().parent / "clients"
# They only let so short a life begin sooner.
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@functools.cache
def classes(name):
    made = tempfile.mkdtemp(prefix="certferry-java-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    done = programs.run(made, "javac", *(f"-J{option}" for option in QUICK), "-d", made, CLIENTS / f"{name}.java")
    assert done.returncode == 0, programs.told(done)
    return made


def command(name, properties, *arguments):
    """The command line of the class, which has its file's name."""
    told = [f"-D{key}={value}" for key, value in properties.items()]
    return ["java", *QUICK, *told, "-cp", classes(name), name, *arguments]
