"""Parent proxies for certferry: a scripted one that keeps what it was asked, squid and tinyproxy."""

import os
import pathlib
import pwd
import re
import select
import shutil
import socket
import ssl
import tempfile

from support import programs
from support.daemons import Daemon, accepts, unused_port


def answers(*octets, then=None):
    """A parent's script: reads a head, sends these octets, and goes on with `then` or ends."""

    def script(connection):
        connection.head = connection.read_until()
        for part in octets:
            connection.send(part)
        if then:
            then(connection)

    return script


def silent(connection):
    """Accepts, and says nothing for as long as it is listened to."""
    connection.head = connection.read_until()
    connection.read_to_end()


def deaf_until(event):
    """Accepts and reads nothing until the event."""

    def script(connection):
        event.wait()
        connection.head = b""

    return script


def relays_to(origin, *first):
    """A parent that opens every tunnel to one origin; `first` octets go out in one piece with the 200."""

    def script(connection):
        connection.head = connection.read_until()
        with socket.create_connection(("127.0.0.1", origin.port)) as up:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"".join(first))
            relay(connection, up)

    return script


def relay(connection, up):
    """Both ways in one thread, as a TLS socket of Python's bears no two at once."""
    tls = isinstance(connection.sock, ssl.SSLSocket)
    listening = [connection.sock, up]
    while listening:
        waiting = tls and connection.sock.pending() and connection.sock in listening
        for sock in [connection.sock] if waiting else select.select(listening, [], [])[0]:
            data = connection.recv() if sock is connection.sock else up.recv(65536)
            other = up if sock is connection.sock else connection.sock
            if data:
                other.sendall(data)
                continue
            listening.remove(sock)
            if tls and sock is up:
                return  # its end goes on with the goodbye of TLS
            other.shutdown(socket.SHUT_WR)


def field(head, name):
    """All values of a field in a head, as bytes."""
    return re.findall(rb"(?im)^" + name.encode() + rb":[ \t]*(.*?)[ \t]*\r$", head)


def url(server, credentials=""):
    return f"http://{credentials}127.0.0.1:{server.port}"


class ParentDaemon(Daemon):
    """A real proxy that can say no port of its own choice."""

    def __init__(self, directory, configuration, command):
        for _ in range(5):
            self.port = unused_port()
            path = directory / "conf"
            path.write_text(configuration(self.port))
            super().__init__(directory, *command(path))
            if accepts(self.port, self.process):
                return
            self.close()
        raise AssertionError(f"{command(path)[0]} does not start: {self.lines.all()}")


def _shared():
    """Words that run a command with a /dev/shm that every user may use: a bare chroot has none."""
    if os.getuid() != 0 or (os.path.isdir("/dev/shm") and os.stat("/dev/shm").st_mode & 0o002):
        return ()
    make = "mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
    return ("unshare", "--mount", "sh", "-c", f'{make} && exec "$@"', "sh")


class Squid(ParentDaemon):
    """`names` lead to 127.0.0.1; `password`: (user, password) that it wants; `certificate`: it speaks TLS itself."""

    def __init__(self, names, password=None, certificate=None):
        # As root it becomes another user, who may not search a test's own directory, nor that of $TMPDIR.
        directory = pathlib.Path(tempfile.mkdtemp(prefix="squid-", dir="/tmp"))
        directory.chmod(0o755)
        if os.getuid() == 0:
            user = pwd.getpwnam("proxy")
            os.chown(directory, user.pw_uid, user.pw_gid)

        both = directory / "tls.pem"
        if certificate:
            both.write_bytes(certificate.cert.read_bytes() + certificate.key.read_bytes())

        def configuration(port):
            hosts = directory / "hosts"
            hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in names))
            lines = [
                f"https_port 127.0.0.1:{port} tls-cert={both}" if certificate else f"http_port 127.0.0.1:{port}",
                "visible_hostname squid.parent.test",
                f"hosts_file {hosts}",
                "dns_nameservers 127.0.0.1",
                "acl all_ports port 1-65535",
                *(self._basic(directory, password) if password else []),
                "http_access allow known" if password else "http_access allow all",
                "cache deny all",
                f"cache_log {directory}/cache.log",
                "access_log none",
                "cache_store_log none",
                f"coredump_dir {directory}",
                "pid_filename none",
                "pinger_enable off",
                "netdb_filename none",
                "mime_table /usr/share/squid/mime.conf",
                "shutdown_lifetime 0 seconds",
            ]
            return "\n".join(lines) + "\n"

        # Two of one service name would share memory.
        service = "t" + "".join(letter for letter in directory.name if letter.isalnum())
        super().__init__(directory, configuration, lambda path: (*_shared(), "squid", "-N", "-n", service, "-f", path))

    def __exit__(self, *_):
        super().__exit__()
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def _basic(directory, password):
        kept = directory / "passwords"
        made = programs.run(directory, "htpasswd", "-b", "-m", "-c", kept, *password)
        assert made.returncode == 0, programs.told(made)
        return [
            f"auth_param basic program /usr/lib/squid/basic_ncsa_auth {kept}",
            "auth_param basic children 1",
            "auth_param basic realm parent",
            "acl known proxy_auth REQUIRED",
        ]


class Tinyproxy(ParentDaemon):
    """Goes where localhost leads; it has no hosts file of its own."""

    def __init__(self, directory, password=None):
        directory.mkdir()

        def configuration(port):
            basic = f"BasicAuth {password[0]} {password[1]}\n" if password else ""
            return (
                f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 30\nMaxClients 50\nLogLevel Error\n"
                f'LogFile "{directory}/tinyproxy.log"\n{basic}'
            )

        super().__init__(directory, configuration, lambda path: ("tinyproxy", "-d", "-c", path))

