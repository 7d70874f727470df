// Streams and consumers with @nats-io/jetstream.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AckPolicy, DeliverPolicy, DiscardPolicy, jetstream, RetentionPolicy, StorageType } from "@nats-io/jetstream";
import { eventually, next, withStream } from "./helper.mjs";

test("life cycle of a stream", async (t) => {
  const { jsm, name } = await withStream(t);
  const info = await jsm.streams.info(name);
  assert.equal(info.config.storage, StorageType.File);
  assert.equal((await jsm.streams.update(name, { max_msgs: 5 })).config.max_msgs, 5);
  assert.equal(await jsm.streams.find(`${name}.x`), name);
  const names = [];
  for await (const stream of jsm.streams.list()) names.push(stream.config.name);
  assert.ok(names.includes(name));
  assert.ok(await jsm.streams.delete(name));
  await assert.rejects(jsm.streams.info(name), /stream not found/);
});

test("publish acks, duplicates and expectations", async (t) => {
  const { js, name } = await withStream(t);
  const first = await js.publish(`${name}.a`, "x", { msgID: "one" });
  const again = await js.publish(`${name}.a`, "x", { msgID: "one" });
  assert.deepEqual([first.seq, first.duplicate, again.seq, again.duplicate], [1, false, 1, true]);
  await js.publish(`${name}.a`, "y", { expect: { lastSequence: 1, lastMsgID: "one", streamName: name } });
  await assert.rejects(js.publish(`${name}.a`, "z", { expect: { lastSequence: 9 } }), /wrong last sequence: 2/);
  await assert.rejects(js.publish(`${name}.a`, "z", { expect: { lastMsgID: "zero" } }), /wrong last msg ID/);
  await assert.rejects(js.publish(`${name}.a`, "z", { expect: { streamName: "other" } }), /expected stream does not match/);
  await assert.rejects(js.publish(`${name}.a`, "z", { expect: { lastSubjectSequence: 1 } }), /wrong last sequence: 2/);
});

test("reads and removals", async (t) => {
  const { jsm, name } = await withStream(t, 6);
  assert.equal((await jsm.streams.getMessage(name, { seq: 3 })).string(), "2");
  assert.equal((await jsm.streams.getMessage(name, { last_by_subj: `${name}.1` })).seq, 6);
  assert.equal((await jsm.direct.getMessage(name, { seq: 2 })).string(), "1");
  assert.equal((await jsm.direct.getMessage(name, { next_by_subj: `${name}.1`, seq: 3 })).seq, 4);
  assert.equal(await jsm.streams.getMessage(name, { seq: 99 }), null);
  assert.ok(await jsm.streams.deleteMessage(name, 3));
  const info = await jsm.streams.info(name, { deleted_details: true, subjects_filter: ">" });
  assert.deepEqual(info.state.deleted, [3]);
  assert.equal(info.state.subjects[`${name}.0`], 2);
  assert.equal((await jsm.streams.purge(name, { filter: `${name}.1` })).purged, 3);
  assert.equal((await jsm.streams.purge(name, { keep: 1 })).purged, 1);
  assert.equal((await jsm.streams.purge(name)).purged, 1);
});

test("batched direct get", async (t) => {
  const { jsm, name } = await withStream(t, 10);
  const seen = [];
  for await (const message of await jsm.direct.getBatch(name, { seq: 3, batch: 5 })) seen.push(message.seq);
  assert.deepEqual(seen, [3, 4, 5, 6, 7]);
  const last = [];
  for await (const message of await jsm.direct.getLastMessagesFor(name, { multi_last: [`${name}.>`] })) last.push(message.seq);
  assert.deepEqual(last, [9, 10]);
});

test("discard new refuses", async (t) => {
  const { js, name } = await withStream(t, 0, { max_msgs: 1, discard: DiscardPolicy.New });
  await js.publish(`${name}.a`);
  await assert.rejects(js.publish(`${name}.a`), /maximum messages exceeded/);
});

test("fetch and acknowledge", async (t) => {
  const { js, jsm, name } = await withStream(t, 25);
  await jsm.consumers.add(name, { durable_name: "c", ack_policy: AckPolicy.Explicit });
  const consumer = await js.consumers.get(name, "c");
  let received = 0;
  while (received < 25) {
    for await (const message of await consumer.fetch({ max_messages: 10, expires: 2000 })) {
      assert.equal(message.string(), `${received++}`);
      assert.ok(await message.ackAck());
    }
  }
  const info = await consumer.info();
  assert.deepEqual([info.num_pending, info.num_ack_pending, info.ack_floor.stream_seq], [0, 0, 25]);
  assert.equal(await consumer.next({ expires: 1000 }), null);
});

test("consume goes on with new messages", async (t) => {
  const { js, jsm, name } = await withStream(t, 50);
  await jsm.consumers.add(name, { durable_name: "c", ack_policy: AckPolicy.Explicit });
  const messages = await (await js.consumers.get(name, "c")).consume({ max_messages: 20 });
  let seen = 0;
  const reading = (async () => {
    for await (const message of messages) {
      message.ack();
      if (++seen === 80) break;
    }
  })();
  await eventually("what was stored", () => seen === 50);
  for (let number = 0; number < 30; number++) await js.publish(`${name}.a`);
  await reading;
  assert.equal(seen, 80);
});

test("nak, delay, in progress, term", async (t) => {
  const { js, jsm, name } = await withStream(t, 1);
  await jsm.consumers.add(name, { durable_name: "c", ack_policy: AckPolicy.Explicit, ack_wait: 500_000_000 });
  const consumer = await js.consumers.get(name, "c");
  let message = await consumer.next({ expires: 2000 });
  message.nak();
  message = await consumer.next({ expires: 2000 });
  assert.equal(message.info.deliveryCount, 2);
  message.nak(200);
  message = await consumer.next({ expires: 3000 });
  assert.equal(message.info.deliveryCount, 3);
  for (let number = 0; number < 4; number++) {
    await new Promise((resolve) => setTimeout(resolve, 250));
    message.working();
  }
  assert.equal((await consumer.info()).num_ack_pending, 1);
  message.term("enough");
  await eventually("nothing pending", async () => (await consumer.info()).num_ack_pending === 0);
});

test("ordered consumer", async (t) => {
  const { js, name } = await withStream(t, 200);
  const consumer = await js.consumers.get(name);
  const messages = await consumer.consume();
  let expected = 0;
  for await (const message of messages) {
    assert.equal(message.string(), `${expected++}`);
    if (expected === 200) break;
  }
});

test("ordered consumer with a filter from a sequence", async (t) => {
  const { js, name } = await withStream(t, 20);
  const consumer = await js.consumers.get(name, { filter_subjects: [`${name}.1`], opt_start_seq: 11, deliver_policy: DeliverPolicy.StartSequence });
  const seen = [];
  for await (const message of await consumer.fetch({ max_messages: 5, expires: 2000 })) seen.push(message.seq);
  assert.deepEqual(seen, [12, 14, 16, 18, 20]);
});

test("push consumer", async (t) => {
  const { nc, jsm, name } = await withStream(t, 10);
  const deliver = `deliver.${name}`;
  await jsm.consumers.add(name, {
    durable_name: "p", deliver_subject: deliver, ack_policy: AckPolicy.Explicit, flow_control: true, idle_heartbeat: 1_000_000_000,
  });
  const consumer = await jetstream(nc).consumers.getPushConsumer(name, "p");
  const messages = await consumer.consume();
  let expected = 0;
  for await (const message of messages) {
    assert.equal(message.string(), `${expected++}`);
    message.ack();
    if (expected === 10) break;
  }
});

test("work queue", async (t) => {
  const { js, jsm, name } = await withStream(t, 3, { retention: RetentionPolicy.Workqueue });
  await jsm.consumers.add(name, { durable_name: "w", ack_policy: AckPolicy.Explicit });
  await assert.rejects(jsm.consumers.add(name, { durable_name: "w2", ack_policy: AckPolicy.Explicit }), /multiple non-filtered consumers/);
  const consumer = await js.consumers.get(name, "w");
  for await (const message of await consumer.fetch({ max_messages: 3, expires: 2000 })) await message.ackAck();
  assert.equal((await jsm.streams.info(name)).state.messages, 0);
});

test("pause and resume", async (t) => {
  const { js, jsm, name } = await withStream(t, 1);
  await jsm.consumers.add(name, { durable_name: "c", ack_policy: AckPolicy.Explicit });
  assert.ok((await jsm.consumers.pause(name, "c", new Date(Date.now() + 3600_000))).paused);
  const consumer = await js.consumers.get(name, "c");
  assert.equal(await consumer.next({ expires: 1000 }), null);
  assert.ok(!(await jsm.consumers.resume(name, "c")).paused);
  assert.ok(await consumer.next({ expires: 2000 }));
});

test("account information and advisories", async (t) => {
  const { nc, jsm, name } = await withStream(t);
  assert.ok(nc.info.jetstream);
  assert.ok((await jsm.getAccountInfo()).streams >= 1);
  const advisories = nc.subscribe(`$JS.EVENT.ADVISORY.CONSUMER.CREATED.${name}.>`)[Symbol.asyncIterator]();
  await nc.flush();
  await jsm.consumers.add(name, { durable_name: "c" });
  assert.equal((await next(advisories)).json().consumer, "c");
});
