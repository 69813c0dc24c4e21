import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, LIMITS } from "../src/connection";
import type { Effect, Event } from "../src/connection";

const lost = (code: number): Event => ({ type: "lost", code, reason: "" });
const send = (data: string): Event => ({ type: "send", data });
const opened: Event = { type: "opened" };
const never = 0.999999;

/** A connection that has been through `events`, all at time 0. */
function after(...events: Event[]): Connection {
  const connection = new Connection();
  for (const event of events) connection.receive(event, 0, never);
  return connection;
}

function types(effects: Effect[]): string[] {
  return effects.map((effect) => effect.type);
}

test("a connection opens a socket and is open when the socket is", () => {
  const connection = new Connection();
  assert.deepEqual(types(connection.receive({ type: "connect" }, 0, 0)), ["open", "report"]);
  assert.equal(connection.state, "connecting");
  assert.deepEqual(connection.receive(opened, 10, 0), [{ type: "report", status: { state: "open" } }]);
  assert.equal(connection.deadline, null);
});

test("messages are delivered while the socket is open, and not after close()", () => {
  const connection = after({ type: "connect" }, opened);
  const received: Event = { type: "received", data: "1" };
  assert.deepEqual(connection.receive(received, 0, 0), [{ type: "deliver", data: "1" }]);
  connection.receive({ type: "close" }, 0, 0);
  assert.deepEqual(connection.receive(received, 0, 0), []);
});

test("messages wait for the socket and go out in order, before the page hears that it is open", () => {
  const connection = after({ type: "connect" }, send("a"), send("b"));
  const effects = connection.receive(opened, 0, 0);
  assert.deepEqual(effects.slice(0, 2), [
    { type: "transmit", data: "a" },
    { type: "transmit", data: "b" },
  ]);
  assert.deepEqual(types(effects), ["transmit", "transmit", "report"]);
  assert.deepEqual(connection.receive(send("c"), 0, 0), [{ type: "transmit", data: "c" }]);
});

test("the queue has a bound: the newest is refused, the others stay", () => {
  const connection = new Connection({ ...LIMITS, queuedMessages: 2 });
  connection.receive({ type: "connect" }, 0, 0);
  assert.deepEqual(connection.receive(send("a"), 0, 0), []);
  assert.deepEqual(connection.receive(send("b"), 0, 0), []);
  assert.deepEqual(types(connection.receive(send("c"), 0, 0)), ["refuse"]);
  assert.deepEqual(types(connection.receive(opened, 0, 0)), ["transmit", "transmit", "report"]);
});

test("after the end everything is refused", () => {
  const connection = after({ type: "connect" }, send("a"), lost(1008));
  assert.deepEqual(types(connection.receive(send("b"), 0, 0)), ["refuse"]);
  assert.deepEqual(connection.receive(opened, 0, 0), []);
});

for (const code of [1000, 1002, 1003, 1008, 1010, 4400, 4401, 4403, 4499]) {
  test(`close code ${code} is final`, () => {
    const connection = after({ type: "connect" }, opened);
    assert.deepEqual(connection.receive(lost(code), 0, 0), [
      { type: "report", status: { state: "closed", code, reason: "" } },
    ]);
    assert.equal(connection.deadline, null);
  });
}

for (const code of [1001, 1005, 1006, 1009, 1011, 1012, 1013, 1015, 3000, 4000, 4399, 4500]) {
  test(`close code ${code} is followed by another try`, () => {
    const connection = after({ type: "connect" }, opened);
    connection.receive(lost(code), 0, 0.5);
    assert.equal(connection.state, "waiting");
    assert.deepEqual(types(connection.wake(connection.deadline ?? NaN, 0)), ["open", "report"]);
  });
}

test("the wait is anywhere in a window that doubles up to its longest", () => {
  const connection = after({ type: "connect" });
  const waits: (number | null)[] = [];
  for (let attempt = 0; attempt < 8; attempt += 1) {
    connection.receive(lost(1006), 0, never);
    waits.push(connection.deadline);
    connection.wake(Infinity, 0);
  }
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
});

test("the dice decide where in the window, and the page is told", () => {
  const connection = after({ type: "connect" });
  assert.deepEqual(connection.receive(lost(1006), 100, 0.25), [
    { type: "report", status: { state: "waiting", code: 1006, reason: "", retryInMs: 250 } },
  ]);
  assert.equal(connection.deadline, 350);
  assert.deepEqual(connection.wake(349, 0), []);
});

test("a socket that stayed open makes the waits small again, one that did not does not", () => {
  const connection = after({ type: "connect" }, lost(1006), { type: "online" }, lost(1006), { type: "online" });
  connection.receive(opened, 0, 0);
  connection.receive(lost(1006), LIMITS.stableAfterMs - 1, never);
  assert.equal(connection.deadline, LIMITS.stableAfterMs - 1 + 4_000);

  connection.receive({ type: "online" }, 20_000, 0);
  connection.receive(opened, 20_000, 0);
  connection.receive(lost(1006), 20_000 + LIMITS.stableAfterMs, never);
  assert.equal(connection.deadline, 20_000 + LIMITS.stableAfterMs + 1_000);
});

test("restarting and overloaded servers are given a wider window, at the first try too", () => {
  for (const [code, window] of [[1012, 5_000], [1013, 15_000]] as const) {
    const connection = after({ type: "connect" }, opened, lost(code));
    assert.equal(connection.deadline, window);
  }
});

test("a handshake that takes too long is given up and tried again", () => {
  const connection = after({ type: "connect" });
  assert.deepEqual(connection.wake(LIMITS.openTimeoutMs - 1, 0), []);
  assert.deepEqual(types(connection.wake(LIMITS.openTimeoutMs, 0)), ["shut", "report"]);
  assert.equal(connection.state, "waiting");
});

test("when the network is back, the wait is over", () => {
  const connection = after({ type: "connect" }, lost(1006));
  assert.deepEqual(types(connection.receive({ type: "online" }, 1, 0)), ["open", "report"]);
  assert.deepEqual(connection.receive({ type: "online" }, 1, 0), []);
});

test("close() shuts the socket, ends a wait, and can be said twice", () => {
  const open = after({ type: "connect" }, opened);
  assert.deepEqual(types(open.receive({ type: "close" }, 0, 0)), ["shut", "report"]);
  assert.deepEqual(open.receive({ type: "close" }, 0, 0), []);
  assert.deepEqual(open.receive(lost(1006), 0, 0), []);

  const waiting = after({ type: "connect" }, lost(1006));
  assert.deepEqual(types(waiting.receive({ type: "close" }, 0, 0)), ["report"]);
  assert.equal(waiting.deadline, null);
});
