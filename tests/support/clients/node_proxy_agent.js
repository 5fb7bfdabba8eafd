// https-proxy-agent and http-proxy-agent: a function until version 5, a named class since version 6.
'use strict';
const http = require('http');
const https = require('https');
const { method, url, ca, proxy, body, fail, onResponse } = require('./fetch.js');

function agent(name, className) {
    const module = require(name);
    const Agent = module[className] || module;
    return new Agent(proxy);
}

const request = url.protocol === 'https:'
    ? https.request(url, { method, ca, agent: agent('https-proxy-agent', 'HttpsProxyAgent') }, onResponse)
    : http.request(url, { method, agent: agent('http-proxy-agent', 'HttpProxyAgent') }, onResponse);
request.on('error', fail).end(body);
