// Connections that close with their test, names that no other test uses, waiting with a deadline.
import { connect as open } from "@nats-io/transport-node";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";

const servers = process.env.NATS_URL;
if (!servers) {
  console.error("NATS_URL names no server: run through tests/interop/run.sh");
  process.exit(2);
}

let numbers = 0;
export const unique = () => `J${process.pid}x${++numbers}`;

export async function connect(t, options = {}) {
  const connection = await open({ servers, reconnect: false, ...options });
  t.after(() => connection.close());
  return connection;
}

// A file stream on NAME.> with `count` messages on NAME.0 and NAME.1 in turn.
export async function withStream(t, count = 0, options = {}) {
  const nc = await connect(t);
  const js = jetstream(nc);
  const jsm = await jetstreamManager(nc);
  const name = unique();
  await jsm.streams.add({ name, subjects: [`${name}.>`], allow_direct: true, ...options });
  for (let number = 0; number < count; number++) {
    await js.publish(`${name}.${number % 2}`, `${number}`);
  }
  return { nc, js, jsm, name };
}

export async function eventually(what, condition, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// The next value of an async iterator, or an error after some seconds.
export async function next(iterator, seconds = 3) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("nothing came")), seconds * 1000);
  });
  try {
    const { value, done } = await Promise.race([iterator.next(), late]);
    if (done) throw new Error("the iterator has ended");
    return value;
  } finally {
    clearTimeout(timer);
  }
}
