// Makes identities.npy's numbers: what @vladmandic/face-api 1.7.15 answers to the 12 faces of chips.jpg, which lie side by side,
// 150x150 each (both portraits, their mirror images, eight of the heads in heads60.jpg; cut as fomm/face/identity.py does).
//   npm install @vladmandic/face-api@1.7.15 @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
//   node make_identities.mjs chips.raw identities.json      (chips.raw: 12x150x150x3 bytes)
import fs from 'fs';
import { createRequire } from 'module';
const require = createRequire(import.meta.url);
require('@tensorflow/tfjs-backend-wasm');
const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
const { tf } = faceapi;
await tf.setBackend('wasm');
await tf.ready();
const folder = 'node_modules/@vladmandic/face-api/model/face_recognition_model';
const manifest = JSON.parse(fs.readFileSync(`${folder}-weights_manifest.json`));
const weights = fs.readFileSync(`${folder}.bin`);
const network = new faceapi.FaceRecognitionNet();
network.loadFromWeightMap(tf.io.decodeWeights(weights.buffer.slice(weights.byteOffset, weights.byteOffset + weights.length), manifest[0].weights));
const raw = fs.readFileSync(process.argv[2]);
const size = 150 * 150 * 3;
const found = [];
for (let at = 0; at < raw.length; at += size) {
  const chip = tf.tensor3d(new Float32Array(raw.subarray(at, at + size)), [150, 150, 3]);
  found.push(Array.from(await network.forwardInput(new faceapi.NetInput([chip])).data()));
}
fs.writeFileSync(process.argv[3], JSON.stringify(found));
