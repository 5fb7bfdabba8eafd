// What the Node programs have in common: arguments, the report, the end after an error.
'use strict';
const fs = require('fs');

const [method, url, trust, proxyHost, proxyPort, bodyFile] = process.argv.slice(2);

function fail(error) {
    console.error(String(error), error.cause ? String(error.cause) : '');
    process.exit(1);
}

function report(status, body, certificate) {
    const text = JSON.stringify({ status, body: body.toString('base64'), certificate });
    process.stdout.write(text, () => process.exit(0));
}

// Of a TLS socket; null of a plain one.
function fingerprint(socket) {
    if (!socket.getPeerCertificate)
        return null;
    return socket.getPeerCertificate().fingerprint256.replace(/:/g, '').toLowerCase();
}

// Reads the response of http.request() to its end.
function onResponse(response) {
    const certificate = fingerprint(response.socket);
    const parts = [];
    response.on('data', (part) => parts.push(part));
    response.on('error', fail);
    response.on('end', () => report(response.statusCode, Buffer.concat(parts), certificate));
}

module.exports = {
    method, url: new URL(url), ca: fs.readFileSync(trust), proxyHost, proxyPort,
    proxy: `http://${proxyHost}:${proxyPort}`,
    body: bodyFile ? fs.readFileSync(bodyFile) : undefined,
    fail, report, fingerprint, onResponse,
};
