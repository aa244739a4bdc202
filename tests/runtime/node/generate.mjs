// node generate.mjs MODEL.onnx FEEDS.json: one generation, its outputs as JSON.
//
// Feeds and outputs alike are {name: {type, dims, data}}; int64 beyond 2**53 stands as a string.

import { readFileSync } from 'node:fs';
import { InferenceSession, Tensor } from 'onnxruntime-node';

function toTensor({ type, dims, data }) {
  return new Tensor(type, type === 'int64' ? BigInt64Array.from(data, BigInt) : data, dims);
}

function toJson({ type, dims, data }) {
  const plain = (value) => {
    const number = Number(value);
    const isExact = typeof value === 'bigint' ? Number.isSafeInteger : Number.isFinite;
    return isExact(number) ? number : String(value);
  };
  return { type, dims, data: Array.from(data, plain) };
}

const each = (tensors, change) =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, change(tensor)]));

const [modelPath, feedsPath] = process.argv.slice(2);
const feeds = each(JSON.parse(readFileSync(feedsPath, 'utf8')), toTensor);
// level 2 warns of every parameter that has a default
const session = await InferenceSession.create(modelPath, { logSeverityLevel: 3 });
// onnxruntime-node drops, without a word, what is no input without a default
const unknown = Object.keys(feeds).filter((name) => !session.inputNames.includes(name));
if (unknown.length) throw new Error(`the model takes no input ${unknown.join(', ')}`);
console.log(JSON.stringify(each(await session.run(feeds), toJson)));
