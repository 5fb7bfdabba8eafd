// Only what Node brings itself: CONNECT with http.request(), TLS over its socket; absolute form for http:// URLs.
'use strict';
const http = require('http');
const https = require('https');
const tls = require('tls');
const { method, url, ca, proxyHost, proxyPort, body, fail, onResponse } = require('./fetch.js');

function overTunnel(answer, socket) {
    if (answer.statusCode !== 200)
        return fail(`CONNECT: ${answer.statusCode} ${answer.statusMessage}`);
    const secured = tls.connect({ socket, ca, servername: url.hostname });
    const request = https.request(url, { method, createConnection: () => secured }, onResponse);
    request.on('error', fail).end(body);
}

const toProxy = { host: proxyHost, port: proxyPort };
if (url.protocol === 'https:')
    http.request({ ...toProxy, method: 'CONNECT', path: url.host })
        .on('connect', overTunnel).on('error', fail).end();
else
    http.request({ ...toProxy, method, path: url.href, headers: { host: url.host } }, onResponse)
        .on('error', fail).end(body);
