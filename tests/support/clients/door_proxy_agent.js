// https-proxy-agent to a proxy that speaks TLS: TRUST PROXY URL [CERTIFICATE KEY]. Its options are for the proxy; until
// version 5 they and the proxy's URL are one argument, and the protocol that it names by itself is misspelt.
'use strict';
const fs = require('fs');
const https = require('https');
const urls = require('url');
const module_ = require('https-proxy-agent');
const [trust, proxy, url, certificate, key] = process.argv.slice(2);

const ca = fs.readFileSync(trust);
const options = { ca, ALPNProtocols: ['http/1.1'] };
if (certificate)
    Object.assign(options, { cert: fs.readFileSync(certificate), key: fs.readFileSync(key) });
const agent = typeof module_ === 'function'
    ? new module_({ ...urls.parse(proxy), ...options })
    : new module_.HttpsProxyAgent(proxy, options);

https.get(url, { agent, ca }, (response) => {
    response.resume();
    response.on('end', () => process.exit(response.statusCode === 200 ? 0 : 1));
}).on('error', (error) => { console.error(error); process.exit(1); });
