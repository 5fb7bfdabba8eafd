import base64
import hashlib
import json
import sys

import requests

method, url, trust, host, port, *body = sys.argv[1:]
proxy = f"http://{host}:{port}"
data = open(body[0], "rb").read() if body else None
proxies = {"http": proxy, "https": proxy}
answer = requests.request(method, url, data=data, verify=trust, proxies=proxies, stream=True, timeout=60)
certificate = None
if url.startswith("https:"):
    certificate = hashlib.sha256(answer.raw.connection.sock.getpeercert(True)).hexdigest()
body = base64.b64encode(answer.content).decode()
print(json.dumps({"status": answer.status_code, "body": body, "certificate": certificate}))
