import base64
import hashlib
import json
import ssl
import sys
import urllib.error
import urllib.request

method, url, trust, host, port, *body = sys.argv[1:]
proxy = f"http://{host}:{port}"
data = open(body[0], "rb").read() if body else None
seen = []


class Context(ssl.SSLContext):
    """Notes the certificate of each handshake."""

    def wrap_socket(self, *arguments, **more):
        sock = super().wrap_socket(*arguments, **more)
        seen.append(hashlib.sha256(sock.getpeercert(True)).hexdigest())
        return sock


context = Context(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(trust)
opener = urllib.request.build_opener(
    urllib.request.ProxyHandler({"http": proxy, "https": proxy}), urllib.request.HTTPSHandler(context=context)
)
try:
    answer = opener.open(urllib.request.Request(url, data=data, method=method), timeout=60)
except urllib.error.HTTPError as error:
    answer = error
body = base64.b64encode(answer.read()).decode()
print(json.dumps({"status": answer.status, "body": body, "certificate": seen[0] if seen else None}))
