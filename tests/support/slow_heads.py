"""
Clients that begin a request and never end it: thousands of them in one process of its own, for test_slow_heads.py.

    slow_heads.py PORT      commands on standard input, one line of JSON on standard output for each that is done
    open COUNT SILENT       COUNT more connections with half a head each; the last SILENT of them say nothing at all
    trickle COUNT           from now on the first COUNT get one more octet of their heads each second
    ended SECONDS           waits until the proxy has ended all of them, but not longer, and tells how it ended them:
                            {"408": 3, "silently": 1}, and "open" for those it has not
    close                   closes all that are left
"""

import collections
import json
import resource
import select
import socket
import sys
import time

HEAD = b"GET http://ca.enroll.test/ HTTP/1.1\r\nHost: ca.enroll.test\r\nX-Slow: "
# One address has about 28,000 ports to connect from, and other tests want some too.
PER_ADDRESS = 2000
PARTS = 10  # the trickling ones take turns


class Holder:
    def __init__(self, port):
        self.port = port
        self.socks = {}  # by descriptor
        self.heard = collections.defaultdict(bytes)
        self.ends = collections.Counter()
        self.trickling, self.turn, self.next_drop = [], 0, None
        self.patience = None  # of "ended": until when
        self.poll = select.epoll()
        self.poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def open(self, count, silent):
        for number in range(count):
            sock = socket.socket()
            sock.bind((f"127.0.{1 + len(self.socks) // PER_ADDRESS}.1", 0))
            sock.settimeout(60)
            sock.connect(("127.0.0.1", self.port))
            if number < count - silent:
                sock.sendall(HEAD)
            sock.setblocking(False)
            self.socks[sock.fileno()] = sock
            self.poll.register(sock.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        return {"open": len(self.socks)}

    def trickle(self, count):
        self.trickling = list(self.socks)[:count]
        self.next_drop = time.monotonic()
        return {"trickling": len(self.trickling)}

    def drop(self):
        """One octet from each of a part of them. Who has got an answer sends nothing more."""
        self.next_drop += 1 / PARTS
        for number in self.trickling[self.turn :: PARTS]:
            if number in self.socks and not self.heard[number]:
                try:
                    self.socks[number].send(b"x")
                except OSError:
                    pass  # ended this moment: read() tells how
        self.turn = (self.turn + 1) % PARTS

    def read(self, number):
        try:
            data = self.socks[number].recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(number, type(error).__name__)
            return
        self.heard[number] += data
        if not data:
            heard = self.heard[number]
            self.end(number, heard.split(b" ")[1].decode() if heard.startswith(b"HTTP/1.1 ") else "silently")

    def end(self, number, how):
        self.ends[how] += 1
        self.poll.unregister(number)
        self.socks.pop(number).close()

    def close(self):
        for number in list(self.socks):
            self.end(number, "by us")
        return {"open": 0}

    def ended(self, seconds):
        self.patience = time.monotonic() + seconds

    def tell_ends(self):
        self.patience, self.trickling = None, []
        return self.ends + collections.Counter(open=len(self.socks))

    def command(self, line):
        name, *numbers = line.split()
        commands = {"open": self.open, "trickle": self.trickle, "close": self.close, "ended": self.ended}
        done = commands[name](*map(int, numbers))
        if done is not None:
            print(json.dumps(done), flush=True)

    def wait(self):
        """Until the next octet is due or patience is over; None: for ever."""
        due = [self.next_drop] if self.trickling else []
        due += [self.patience] if self.patience else []
        return max(0, min(due) - time.monotonic()) if due else None

    def run(self):
        while True:
            for number, _ in self.poll.poll(self.wait()):
                if number != sys.stdin.fileno():
                    self.read(number)
                    continue
                line = sys.stdin.readline()
                if not line:
                    return
                self.command(line)
            if self.trickling and time.monotonic() >= self.next_drop:
                self.drop()
            if self.patience and (not self.socks or time.monotonic() >= self.patience):
                print(json.dumps(self.tell_ends()), flush=True)


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Holder(int(sys.argv[1])).run()
