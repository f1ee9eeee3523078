import assert from "node:assert/strict";
import { beforeEach, it } from "node:test";
import { jobStream } from "../../zimage_cache/web/page/lib/stream.js";

/** Streams in the order in which they were opened. */
const opened = [];

class EventSource extends EventTarget {
  static CLOSED = 2;
  readyState = 1;

  constructor(address) {
    super();
    this.address = address;
    opened.push(this);
  }

  close() {
    this.readyState = EventSource.CLOSED;
  }

  send(type, data) {
    this.dispatchEvent(Object.assign(new Event(type), { data: JSON.stringify(data) }));
  }

  fail(readyState) {
    this.readyState = readyState;
    this.dispatchEvent(new Event("error"));
  }
}
globalThis.EventSource = EventSource;

beforeEach(() => void opened.splice(0));

const last = () => opened.at(-1);
const addresses = () => opened.map(({ address }) => address);
const open = () => opened.filter(({ readyState }) => readyState !== EventSource.CLOSED).length;

/** Two listeners, A and B, of one stream, and what they were told. */
function two() {
  const told = [];
  const stream = jobStream();
  const follow = (id, quiet = false) =>
    stream.follow(id, { id, quiet, language: "en" }, (news) => told.push([id, news]));
  follow("A");
  follow("B");
  return { told, stream, follow };
}

it("all jobs have one stream, and each listener is told of its own", () => {
  const { told } = two();
  assert.deepEqual(addresses(), ["/jobs/events?ids=A&quiet=&language=en", "/jobs/events?ids=A,B&quiet=&language=en"]);
  assert.equal(open(), 1);
  last().send("state", { id: "B", state: "running" });
  assert.deepEqual(told, [["B", { state: { id: "B", state: "running" } }]]);
});

it("the same again changes nothing", () => {
  const { follow } = two();
  follow("A");
  follow("B");
  assert.equal(opened.length, 2);
});

it("jobs out of sight are quiet, and those that one of two tabs shows are not", () => {
  const { stream, follow } = two();
  follow("A", true);
  assert.equal(last().address, "/jobs/events?ids=B,A&quiet=A&language=en");
  stream.follow("another", { id: "A", quiet: false, language: "en" }, () => undefined);
  assert.equal(last().address, "/jobs/events?ids=B,A&quiet=&language=en");
});

it("a new listener of a job that is followed is told its state: by a new stream", () => {
  const { stream } = two();
  stream.follow("another", { id: "A", quiet: false, language: "en" }, () => undefined);
  assert.equal(opened.length, 3);
  assert.equal(open(), 1);
});

it("a job that has ended is dropped, and the stream goes on", () => {
  const { told, follow } = two();
  last().send("state", { id: "A", state: "done" });
  last().send("gone", { id: "unknown" });
  follow("B");
  assert.equal(opened.length, 2);
  last().send("gone", { id: "B" });
  assert.deepEqual(
    told.map(([id, news]) => [id, news.state?.state ?? news]),
    [
      ["A", "done"],
      ["B", "gone"],
    ],
  );
  assert.equal(open(), 0);
});

it("with the last listener the stream is closed", () => {
  const { stream } = two();
  stream.leave("A");
  assert.equal(last().address, "/jobs/events?ids=B&quiet=&language=en");
  stream.leave("B");
  stream.leave("B");
  assert.equal(open(), 0);
  assert.equal(opened.length, 3);
});

it("a lost stream is left to the browser, a refused one is ended", () => {
  const { told, follow } = two();
  last().fail(0);
  assert.deepEqual(told.splice(0), [
    ["A", "lost"],
    ["B", "lost"],
  ]);
  assert.equal(open(), 1);
  last().fail(EventSource.CLOSED);
  assert.deepEqual(told, [
    ["A", "refused"],
    ["B", "refused"],
  ]);
  assert.equal(open(), 0);
  follow("B");
  assert.equal(last().address, "/jobs/events?ids=B&quiet=&language=en");
});
