// Key-value buckets with @nats-io/kv.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Kvm } from "@nats-io/kv";
import { connect, eventually, next, unique } from "./helper.mjs";

async function bucket(t, options = {}) {
  const nc = await connect(t);
  return await new Kvm(nc).create(unique(), options);
}

test("put, get, create, update", async (t) => {
  const kv = await bucket(t, { history: 5 });
  const first = await kv.create("key", "one");
  await assert.rejects(kv.create("key", "again"), /wrong last sequence/);
  const second = await kv.update("key", "two", first);
  await assert.rejects(kv.update("key", "three", first), /wrong last sequence/);
  const entry = await kv.get("key");
  assert.deepEqual([entry.string(), entry.revision], ["two", second]);
  assert.equal((await kv.get("key", { revision: first })).string(), "one");
  assert.equal(await kv.get("none"), null);
});

test("delete, purge and history", async (t) => {
  const kv = await bucket(t, { history: 5 });
  for (const value of ["1", "2", "3"]) await kv.put("key", value);
  await kv.delete("key");
  assert.equal((await kv.get("key")).operation, "DEL");
  const history = [];
  for await (const entry of await kv.history({ key: "key" })) history.push(entry.operation);
  assert.deepEqual(history, ["PUT", "PUT", "PUT", "DEL"]);
  await kv.purge("key");
  assert.equal((await kv.get("key")).operation, "PURGE");
  await kv.create("key", "again");
  assert.equal((await kv.get("key")).string(), "again");
});

test("keys and status", async (t) => {
  const kv = await bucket(t, { history: 2 });
  for (const key of ["a.1", "a.2", "b.1"]) await kv.put(key, key);
  const keys = [];
  for await (const key of await kv.keys("a.*")) keys.push(key);
  assert.deepEqual(keys.sort(), ["a.1", "a.2"]);
  const status = await kv.status();
  assert.deepEqual([status.values, status.history], [3, 2]);
});

test("watch", async (t) => {
  const kv = await bucket(t);
  await kv.put("a.1", "one");
  const watcher = await kv.watch({ key: "a.*" });
  const updates = watcher[Symbol.asyncIterator]();
  const first = await next(updates);
  assert.deepEqual([first.key, first.string()], ["a.1", "one"]);
  await kv.put("a.2", "two");
  await kv.delete("a.1");
  assert.equal((await next(updates)).key, "a.2");
  assert.equal((await next(updates)).operation, "DEL");
  watcher.stop();
});

test("a key with a time to live", async (t) => {
  const kv = await bucket(t, { markerTTL: 1000 });
  await kv.create("key", "x", "1s");
  await eventually("the key to expire", async () => {
    const entry = await kv.get("key");
    return entry === null || entry.operation !== "PUT";
  });
});

test("a bucket can be destroyed", async (t) => {
  const nc = await connect(t);
  const name = unique();
  const kv = await new Kvm(nc).create(name);
  await kv.put("key", "x");
  assert.ok(await kv.destroy());
  const gone = await new Kvm(nc).open(name);
  await assert.rejects(gone.status(), /stream not found/);
});
