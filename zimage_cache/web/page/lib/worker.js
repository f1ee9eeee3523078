// The worker that all tabs of a browser share. It has one event stream for all of their jobs: browsers open six
// connections to a server, and six tabs with a stream each would leave none for the seventh.
//
// Each port is a tab's, for one job. A tab in sight repeats what it follows several times a second, and each message is
// answered: so both notice when the other one has crashed.
import { jobStream } from "./stream.js";

const SILENCE = 5000; // ms after which a tab in sight is taken for one that has crashed; it may speak again
const stream = jobStream();

/** @param {MessagePort} port */
function attend(port) {
  const leave = () => stream.leave(port);
  let timer = 0;
  port.addEventListener("message", ({ data: { id, quiet, language } }) => {
    clearTimeout(timer);
    if (id) stream.follow(port, { id, quiet, language }, (news) => port.postMessage(news));
    else leave();
    if (id && !quiet) timer = setTimeout(leave, SILENCE);
    port.postMessage("here");
  });
  port.start();
}

addEventListener("connect", (event) => {
  for (const port of /** @type {MessageEvent} */ (event).ports) attend(port);
});
