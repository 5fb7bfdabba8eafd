// undici's ProxyAgent, which opens a tunnel for http:// URLs too.
'use strict';
const { ProxyAgent, request } = require('undici');
const tls = require('tls');
const { method, url, ca, proxy, body, fail, report } = require('./fetch.js');

// undici does not hand out its socket: note the certificate where it is verified.
let certificate = null;
const requestTls = {
    ca,
    servername: url.hostname,
    checkServerIdentity(host, peer) {
        certificate = peer.fingerprint256.replace(/:/g, '').toLowerCase();
        return tls.checkServerIdentity(host, peer);
    },
};

async function main() {
    const dispatcher = new ProxyAgent({ uri: proxy, requestTls });
    const answer = await request(url, { method, body, dispatcher });
    report(answer.statusCode, Buffer.from(await answer.body.arrayBuffer()), certificate);
}

main().catch(fail);
