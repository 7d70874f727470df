// Object store with @nats-io/obj.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { Objm } from "@nats-io/obj";
import { connect, next, unique } from "./helper.mjs";

const store = async (t) => await new Objm(await connect(t)).create(unique());

test("put and get", async (t) => {
  const objects = await store(t);
  const data = randomBytes(1_000_000);
  const info = await objects.putBlob({ name: "file" }, data);
  assert.deepEqual([info.size, info.chunks], [1_000_000, 8]);
  assert.deepEqual(Buffer.from(await objects.getBlob("file")), data);
  await objects.putBlob({ name: "file" }, Buffer.from("shorter"));
  assert.equal(Buffer.from(await objects.getBlob("file")).toString(), "shorter");
});

test("list, delete, watch", async (t) => {
  const objects = await store(t);
  await objects.putBlob({ name: "a" }, Buffer.from("1"));
  const watcher = await objects.watch({ includeHistory: true });
  const updates = watcher[Symbol.asyncIterator]();
  assert.equal((await next(updates)).name, "a");
  await objects.putBlob({ name: "b" }, Buffer.from("2"));
  assert.equal((await next(updates)).name, "b");
  watcher.stop();
  await objects.delete("a");
  assert.equal((await objects.info("a")).deleted, true);
  const names = (await objects.list()).map((info) => info.name);
  assert.ok(names.includes("b") && !names.includes("a"));
});

test("seal", async (t) => {
  const objects = await store(t);
  await objects.putBlob({ name: "a" }, Buffer.from("1"));
  assert.ok((await objects.seal()).sealed);
  await assert.rejects(objects.putBlob({ name: "b" }, Buffer.from("2")));
  assert.ok(await objects.destroy());
});
