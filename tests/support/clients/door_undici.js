// undici's ProxyAgent to a proxy that speaks TLS: TRUST PROXY URL [CERTIFICATE KEY]
'use strict';
const fs = require('fs');
const { ProxyAgent, request } = require('undici');
const [trust, proxy, url, certificate, key] = process.argv.slice(2);

const ca = fs.readFileSync(trust);
const proxyTls = certificate ? { ca, cert: fs.readFileSync(certificate), key: fs.readFileSync(key) } : { ca };

async function main() {
    const answer = await request(url, { dispatcher: new ProxyAgent({ uri: proxy, proxyTls, requestTls: { ca } }) });
    await answer.body.text();
    process.exit(answer.statusCode === 200 ? 0 : 1);
}

main().catch((error) => { console.error(error); process.exit(1); });
