"""A TPM of a test's own: swtpm, and keys in it."""

import contextlib
import random
import signal
import socket

from support.certferry import PATIENCE
from support.daemons import Daemon, accepts
from support.device_keys import certify, key_file, run

# No key here counts wrong passwords and unclean ends (noda): a lockout would outlive the test that caused it.
KEY = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
PARENT = "0x81000001"
KINDS = {"ec": "ecc256", "rsa": "rsa2048"}


class Tpm:
    """Its state lies in `directory`, and stays there over kill() and start()."""

    def __init__(self, directory):
        self.directory = directory
        self.state = directory / "state"
        self.state.mkdir(parents=True)
        self.port = None
        self.daemon = None
        self._handles = 0x81010000
        for _ in range(8):
            self.port = unused_pair()
            if self.start():
                break
        assert self.daemon, "swtpm does not start"
        self.make_parent()

    @property
    def tcti(self):
        return f"swtpm:host=127.0.0.1,port={self.port}"

    @property
    def variables(self):
        return {"TPM2TOOLS_TCTI": self.tcti, "TSS2_LOG": "all+none"}

    @property
    def settings(self):
        return {"tls.provider": "tpm2", "tls.tpm.tcti": self.tcti}

    def start(self):
        """Whether it runs."""
        ports = ("--server", f"type=tcp,port={self.port}", "--ctrl", f"type=tcp,port={self.port + 1}")
        flags = ("--flags", "not-need-init,startup-clear")
        command = ("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}", *ports, *flags)
        self.daemon = Daemon(self.directory, *command)
        if accepts(self.port + 1, self.daemon.process):
            return True
        self.daemon.close()
        self.daemon = None
        return False

    def make_parent(self):
        """A persistent one, so that keys need no place in the TPM for theirs."""
        run(self, "tpm2_createprimary", "-C", "o", "-G", "ecc", "-a", f"{KEY}|restricted|decrypt", "-c", "parent.ctx")
        run(self, "tpm2_evictcontrol", "-C", "o", "-c", "parent.ctx", PARENT)
        run(self, "tpm2_flushcontext", "-t")

    def make_key(self, authority, name="tls", kind="ec", password=None, handle=False, subject="localhost"):
        """
        (certificate, what tls.key says): a TSS2 PRIVATE KEY file, or with `handle` the URI of a persistent key. The
        password never stands on a command line.
        """
        secret = ()
        if password is not None:
            (self.directory / "auth").write_text(password)
            secret = ("-p", "file:auth")
        halves = ("-u", f"{name}.pub", "-r", f"{name}.priv")
        run(self, "tpm2_create", "-C", PARENT, "-G", KINDS[kind], *secret, "-a", f"{KEY}|sign", *halves)
        run(self, "tpm2_load", "-C", PARENT, *halves, "-c", f"{name}.ctx")
        run(self, "tpm2_readpublic", "-c", f"{name}.ctx", "-f", "pem", "-o", f"{name}.public")
        certificate = certify(
            authority, self.directory, name, (self.directory / f"{name}.public").read_bytes(), subject
        )
        if handle:
            self._handles += 1
            run(self, "tpm2_evictcontrol", "-C", "o", "-c", f"{name}.ctx", hex(self._handles))
            place = f"handle:{hex(self._handles)}" + ("?pass" if password is not None else "")
        else:
            # Its -p says that there is no password, despite its name.
            empty = () if password is not None else ("-p",)
            run(self, "tpm2_encodeobject", "-C", PARENT, *halves, *empty, "-o", f"{name}.key")
            place = key_file(self.directory / f"{name}.private", (self.directory / f"{name}.key").read_text())
        run(self, "tpm2_flushcontext", "-t")
        run(self, "tpm2_flushcontext", "-l")
        return certificate, place

    def used_places(self):
        """Objects and sessions that somebody has left in it."""
        return [run(self, "tpm2_getcap", what) for what in ("handles-transient", "handles-loaded-session")]

    def pause(self):
        self.daemon.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.daemon.process.send_signal(signal.SIGCONT)

    def kill(self):
        self.daemon.process.kill()
        self.daemon.process.wait(PATIENCE)
        self.daemon.lines.join()

    @contextlib.contextmanager
    def silence(self):
        """Once it has been killed: somebody in its place whom certferry asks, and who never says a word."""
        with contextlib.ExitStack() as stay:
            commands, control = (stay.enter_context(socket.socket()) for _ in range(2))
            for listener, port in ((commands, self.port), (control, self.port + 1)):
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
                listener.listen()
            commands.settimeout(PATIENCE)
            stay.enter_context(commands.accept()[0])
            yield

    def close(self):
        self.resume()
        if self.daemon.process.poll() is None:
            self.kill()


def unused_pair():
    """Two neighbours, below the range from which the system gives ports to others."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
