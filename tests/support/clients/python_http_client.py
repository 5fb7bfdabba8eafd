import base64
import hashlib
import http.client
import json
import ssl
import sys
import urllib.parse

method, url, trust, host, port, *body = sys.argv[1:]
data = open(body[0], "rb").read() if body else None
parts = urllib.parse.urlsplit(url)
certificate = None
if parts.scheme == "https":
    context = ssl.create_default_context(cafile=trust)
    connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
    connection.set_tunnel(parts.hostname, parts.port)
    connection.connect()
    certificate = hashlib.sha256(connection.sock.getpeercert(True)).hexdigest()
    connection.request(method, parts.path, body=data)
else:
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request(method, url, body=data)
answer = connection.getresponse()
body = base64.b64encode(answer.read()).decode()
print(json.dumps({"status": answer.status, "body": body, "certificate": certificate}))
