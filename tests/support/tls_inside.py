"""TLS over any stream that has sendall(), recv() and close(), TLS too: the ssl module cannot stack its own sockets."""

import contextlib
import ssl


class TlsInside:
    """A TLS client from construction on. `name`: asked for and verified; an IP address is verified alone."""

    def __init__(self, below, context, name):
        self.below = below
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        self._until_done(self.tls.do_handshake)

    def _until_done(self, call, *arguments):
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self._flush()
                data = self.below.recv(65536)
                if data:
                    self._in.write(data)
                else:
                    self._in.write_eof()
            finally:
                self._flush()

    def _flush(self):
        if data := self._out.read():
            self.below.sendall(data)

    def sendall(self, data):
        while data:
            data = data[self._until_done(self.tls.write, data) :]

    def recv(self, maximum=65536):
        """b"" after the peer's close_notify; an end without one is an error."""
        try:
            return self._until_done(self.tls.read, maximum)
        except ssl.SSLZeroReturnError:
            return b""

    def close(self):
        """close_notify, without waiting for the peer's."""
        with contextlib.suppress(OSError):
            with contextlib.suppress(ssl.SSLError):
                self.tls.unwrap()
            self._flush()
        self.below.close()
