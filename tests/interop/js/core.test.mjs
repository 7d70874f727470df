// Core messaging with @nats-io/transport-node.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createInbox, headers, RequestError, TimeoutError } from "@nats-io/transport-node";
import { connect, eventually, next, unique } from "./helper.mjs";

test("publish and subscribe", async (t) => {
  const nc = await connect(t);
  const name = unique();
  const sub = nc.subscribe(`${name}.*`)[Symbol.asyncIterator]();
  nc.publish(`${name}.a`, "hello");
  nc.publish(`${name}.a.b`, "not for us");
  nc.publish(`${name}.b`);
  assert.equal((await next(sub)).string(), "hello");
  assert.equal((await next(sub)).subject, `${name}.b`);
});

test("order of many messages", async (t) => {
  const [publisher, subscriber] = [await connect(t), await connect(t)];
  const name = unique();
  const seen = [];
  subscriber.subscribe(name, { callback: (_, message) => seen.push(Number(message.string())) });
  await subscriber.flush();
  for (let number = 0; number < 20000; number++) publisher.publish(name, `${number}`);
  await eventually("all messages", () => seen.length === 20000);
  assert.ok(seen.every((value, index) => value === index));
});

test("request and reply", async (t) => {
  const nc = await connect(t);
  const name = unique();
  nc.subscribe(name, { callback: (_, message) => message.respond(`re: ${message.string()}`) });
  assert.equal((await nc.request(name, "x", { timeout: 2000 })).string(), "re: x");
  assert.equal((await nc.request(name, "y", { timeout: 2000, noMux: true, reply: createInbox() })).string(), "re: y");
});

test("a request without responders fails at once", async (t) => {
  const nc = await connect(t);
  await assert.rejects(nc.request(unique(), "", { timeout: 5000 }), (error) => error instanceof RequestError && error.isNoResponders());
});

test("a request that nobody answers times out", async (t) => {
  const nc = await connect(t);
  const name = unique();
  nc.subscribe(name, { callback: () => {} });
  await assert.rejects(nc.request(name, "", { timeout: 200 }), TimeoutError);
});

test("many answers to one request", async (t) => {
  const nc = await connect(t);
  const name = unique();
  for (let number = 0; number < 3; number++) {
    nc.subscribe(name, { callback: (_, message) => message.respond(`${number}`) });
  }
  const answers = [];
  for await (const answer of await nc.requestMany(name, "", { maxMessages: 3, maxWait: 2000 })) answers.push(answer.string());
  assert.deepEqual(answers.sort(), ["0", "1", "2"]);
});

test("headers arrive", async (t) => {
  const nc = await connect(t);
  const name = unique();
  const sub = nc.subscribe(name)[Symbol.asyncIterator]();
  const block = headers();
  block.append("Colour", "blue");
  block.append("Colour", "red");
  nc.publish(name, "body", { headers: block });
  const message = await next(sub);
  assert.deepEqual(message.headers.values("Colour"), ["blue", "red"]);
  assert.equal(message.string(), "body");
});

test("a queue group shares messages", async (t) => {
  const nc = await connect(t);
  const name = unique();
  const counts = [0, 0];
  counts.forEach((_, index) => nc.subscribe(name, { queue: "q", callback: () => counts[index]++ }));
  for (let number = 0; number < 200; number++) nc.publish(name);
  await nc.flush();
  await eventually("all messages", () => counts[0] + counts[1] === 200);
  assert.ok(counts[0] > 0 && counts[1] > 0);
});

test("auto-unsubscribe", async (t) => {
  const nc = await connect(t);
  const name = unique();
  const seen = [];
  const sub = nc.subscribe(name, { max: 2, callback: (_, message) => seen.push(message.string()) });
  for (let number = 0; number < 5; number++) nc.publish(name, `${number}`);
  await sub.closed;
  assert.deepEqual(seen, ["0", "1"]);
});

test("drain handles what was received", async (t) => {
  const [publisher, nc] = [await connect(t), await connect(t)];
  const name = unique();
  let seen = 0;
  nc.subscribe(name, { callback: () => seen++ });
  await nc.flush();
  for (let number = 0; number < 100; number++) publisher.publish(name);
  await publisher.flush();
  await nc.drain();
  assert.equal(seen, 100);
  assert.ok(nc.isClosed());
});

test("facts about the server", async (t) => {
  const nc = await connect(t);
  assert.equal(nc.info.max_payload, 1024 * 1024);
  assert.ok(nc.info.headers);
  assert.ok((await nc.rtt()) >= 0);
});

test("verbose and pedantic", async (t) => {
  const nc = await connect(t, { verbose: true, pedantic: true });
  const name = unique();
  const sub = nc.subscribe(name)[Symbol.asyncIterator]();
  nc.publish(name, "x");
  assert.equal((await next(sub)).string(), "x");
});
