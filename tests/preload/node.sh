#!/usr/bin/env bash
# node: JSON, buffers outside the JavaScript heap, streams through zlib on the thread pool, digests, worker
# threads with shared memory, child processes, an HTTP server and its clients. V8 has its own heap for
# objects; buffers, the compiler, ICU, libuv, zlib and OpenSSL live on malloc.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program node nodejs

corpus "$work/text" 2000000
cat >work.js <<'JS'
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { createHash, pbkdf2Sync, createCipheriv, createDecipheriv } = require('crypto');
const { promisify } = require('util');
const zlib = require('zlib'), fs = require('fs'), http = require('http'), child = require('child_process');

const digest = data => createHash('sha256').update(data).digest('hex').slice(0, 16);

function churn(seed, rounds) {
    const kept = [];
    let state = seed >>> 0;
    const random = n => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % n;
    const sum = createHash('sha256');
    for (let i = 0; i < rounds; i++) {
        const slot = random(300);
        if (kept[slot]) sum.update(kept[slot]);
        kept[slot] = random(4) ? Buffer.alloc(random(20000), i & 255)
            : Buffer.from(`${i}`.repeat(random(500)));
    }
    return sum.digest('hex').slice(0, 16);
}

async function main() {
    const text = fs.readFileSync(process.argv[2]);
    const words = new Map();
    for (const [word] of text.toString('latin1').matchAll(/\w+/g))
        words.set(word, (words.get(word) || 0) + 1);
    const sorted = [...words].sort((a, b) => a[0].localeCompare(b[0], 'en') || (a[0] < b[0] ? -1 : 1));
    const encoded = JSON.stringify(sorted.map(([word, count]) => ({ word, count, deep: [{ word }] })));
    console.log(words.size, digest(encoded), JSON.stringify(JSON.parse(encoded)) === encoded);

    const pieces = [];
    for (let at = 0; at < text.length; at += 60000) pieces.push(text.subarray(at, at + 60000));
    const packed = await Promise.all(pieces.map(piece => promisify(zlib.deflate)(piece, { level: 9 })));
    const brotli = await Promise.all(pieces.slice(0, 8).map(piece => promisify(zlib.brotliCompress)(piece)));
    const unpacked = await Promise.all(packed.map(piece => promisify(zlib.inflate)(piece)));
    const unbrotli = await Promise.all(brotli.map(piece => promisify(zlib.brotliDecompress)(piece)));
    console.log(Buffer.concat(unpacked).equals(text), digest(Buffer.concat(packed)),
        digest(Buffer.concat(unbrotli)));

    const key = pbkdf2Sync('password', 'salt', 2000, 32, 'sha512');
    const cipher = createCipheriv('aes-256-cbc', key, Buffer.alloc(16));
    const decipher = createDecipheriv('aes-256-cbc', key, Buffer.alloc(16));
    const secret = Buffer.concat([cipher.update(text), cipher.final()]);
    console.log(digest(secret), Buffer.concat([decipher.update(secret), decipher.final()]).equals(text));

    const shared = new SharedArrayBuffer(8);
    const found = await Promise.all([1, 2, 3, 4].map(seed => new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: { seed, shared } });
        worker.once('message', resolve);
        worker.once('error', reject);
    })));
    console.log(...found, Atomics.load(new Int32Array(shared), 0));

    const answers = await Promise.all([1, 2, 3].map(n => promisify(child.execFile)(process.execPath,
        ['-p', `Buffer.alloc(${n} * 1000000, 'x').toString('base64').length`])));
    console.log(...answers.map(answer => answer.stdout.trim()));

    const server = http.createServer((request, response) => {
        const hash = createHash('sha1');
        request.on('data', data => hash.update(data));
        request.on('end', () => response.end(hash.digest('hex') + request.url.repeat(200)));
    }).listen(0, '127.0.0.1');
    await new Promise(resolve => server.once('listening', resolve));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    const bodies = await Promise.all(Array.from({ length: 300 }, (_, i) => new Promise((resolve, reject) => {
        const { address: host, port } = server.address();
        const target = { host, port, path: `/${i}`, method: 'POST', agent };
        const request = http.request(target, response => {
            const all = [];
            response.on('data', data => all.push(data));
            response.on('end', () => resolve(Buffer.concat(all)));
        });
        request.on('error', reject);
        request.end(text.subarray(i * 1000, i * 2000));
    })));
    console.log(bodies.length, digest(Buffer.concat(bodies)));
    agent.destroy();
    server.close();
}

if (isMainThread) {
    main().catch(error => { console.error(error); process.exitCode = 1; });
} else {
    Atomics.add(new Int32Array(workerData.shared), 0, workerData.seed);
    parentPort.postMessage(churn(workerData.seed, 6000));
}
JS
# Debian's is a library and an executable that only starts it; other builds are one executable.
if ldd "$(command -v node)" | grep libnode >&2; then
    require_served --by libnode node --version
else
    require_served node --version
fi
compare_output node "$work/work.js" "$work/text"
require_on_brim node
