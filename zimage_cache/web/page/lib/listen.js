// Follows a job by the event stream that all tabs of the browser share, see worker.js, or by one of this tab where
// there are no shared workers (Chrome on Android) or this one does not start.
import { facts } from "./facts.js";
import { askHealth } from "./health.js";
import { language } from "./i18n.js";
import { jobStream } from "./stream.js";

/** @import { News } from "./stream.js" */

const REPEAT = 300; // ms between messages to the worker, from a tab that can be seen
const FEW = 2; // so many of them without an answer: the worker is connected anew
const MANY = 16; // so many: it is done without

/**
 * A way to follow a job: `say` begins, and tells whether the tab can be seen; `repeat` makes sure that it was heard;
 * `leave` may be followed by `say`, `close` by nothing.
 * @typedef {{ say: () => void, repeat: () => void, leave: () => void, close: () => void }} Way
 */

/**
 * @param {string} id
 * @param {(news: News) => void} tell
 * @returns {Way}
 */
function alone(id, tell) {
  const stream = jobStream();
  const key = {};
  const say = () => stream.follow(key, { id, quiet: document.hidden, language }, tell);
  const leave = () => stream.leave(key);
  return { say, repeat: say, leave, close: leave };
}

/**
 * A worker may die with the process of a tab that has crashed, which browsers do not report: it is noticed by the
 * missing answers, and started again.
 * @param {string} id
 * @param {(news: News) => void} tell
 * @param {() => void} failed
 * @returns {Way}
 */
function together(id, tell, failed) {
  let unanswered = 0;
  let port = connect();

  function connect() {
    const worker = new SharedWorker(facts.worker);
    worker.addEventListener("error", failed);
    worker.port.addEventListener("message", ({ data }) => {
      unanswered = 0;
      if (data !== "here") tell(data);
    });
    worker.port.start();
    return worker.port;
  }

  function say() {
    port.postMessage({ id, quiet: document.hidden, language });
  }

  function leave() {
    port.postMessage({ id: null });
  }

  function close() {
    leave();
    port.close();
  }

  function repeat() {
    if (unanswered && unanswered % FEW === 0) {
      close();
      port = connect();
    }
    unanswered += 1;
    if (unanswered > MANY) failed();
    else say();
  }

  return { say, repeat, leave, close };
}

/**
 * Tells *listener* of the job *id* until the function that it returns is called.
 * @param {string} id
 * @param {(news: News) => void} listener
 */
export function listen(id, listener) {
  /** @param {News} news */
  function tell(news) {
    if (news === "lost") void askHealth();
    listener(news);
  }

  /** @type {Way} */
  let way = "SharedWorker" in window ? together(id, tell, failed) : alone(id, tell);
  let timer = 0;
  let over = false;

  function failed() {
    if (over) return;
    way.close();
    way = alone(id, tell);
    way.say();
  }

  // A tab out of sight has no timer.
  function seen() {
    clearInterval(timer);
    if (!document.hidden) timer = setInterval(() => way.repeat(), REPEAT);
    way.say();
  }

  function begin() {
    document.addEventListener("visibilitychange", seen);
    seen();
  }

  function rest() {
    clearInterval(timer);
    // A page that is left is hidden after this.
    document.removeEventListener("visibilitychange", seen);
    way.leave();
  }

  function close() {
    over = true;
    removeEventListener("pagehide", rest);
    removeEventListener("pageshow", begin);
    rest();
    way.close();
  }

  addEventListener("pagehide", rest);
  // It may come back from the browser's memory.
  addEventListener("pageshow", begin);
  begin();
  return close;
}
