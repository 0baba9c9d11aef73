// node_work: a server's work without the network: JSON, maps, buffers and compression. V8 has a heap of its
// own; what it takes from malloc are buffers, the compiler's memory and zlib's. Prints a checksum. Argument:
// how many rounds.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');

const digest = crypto.createHash('sha256');
for (let round = 0; round < Number(process.argv[2]); round++) {
    const records = [];
    for (let i = 0; i < 4000; i++)
        records.push({number: i + round, name: `record ${(i * 7919) % 100003}`, tags: [i % 3, i % 5, i % 7]});
    const text = JSON.stringify(records);
    const byName = new Map(JSON.parse(text).map((record) => [record.name, record]));
    const chunks = [...byName.keys()].map((name) => Buffer.from(name.repeat(1 + name.length % 20)));
    const packed = zlib.deflateSync(Buffer.concat(chunks), {level: 4});
    const unpacked = zlib.inflateSync(packed);
    for (let size = 1024; size <= 1 << 20; size *= 2)
        digest.update(Buffer.alloc(size, round & 255).subarray(0, 16));
    digest.update(text).update(unpacked);
}
console.log(digest.digest('hex'));
