// A job on the server: created once, followed by an event stream that reconnects by itself, cancelled by Stop. A page
// that is left does not cancel its job, because it may be a reload; the server keeps the job for a while.
"use strict";
zimage.jobs = (() => {
  const { server } = zimage;
  const AGAIN = 1000; // ms between attempts to reach the server
  const GRACE = 15000; // ms the server keeps a job without an event stream
  const OVER = ["done", "failed", "cancelled"];

  // Calls *callbacks*.state(state) until one is final; .lost() while the server cannot be reached; .gone() when it has
  // no such job; .failed(error) when it refuses. Returns a function that stops following.
  function follow(id, callbacks) {
    let over = false;
    let source = null;
    let timer = 0;
    let since = null; // when the connection was lost

    function rest() {
      clearTimeout(timer);
      source?.close();
    }

    function close() {
      over = true;
      rest();
      document.removeEventListener("visibilitychange", seen);
    }

    // A hidden page reconnects as long as the server keeps its job, and then not before it becomes visible.
    function suspended() {
      since ??= performance.now();
      if (!document.hidden || performance.now() - since < GRACE) return false;
      rest();
      document.addEventListener("visibilitychange", seen);
      return true;
    }

    function seen() {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", seen);
      void poll();
    }

    function receive(state) {
      if (over) return;
      since = null;
      if (OVER.includes(state.state)) close();
      callbacks.state(state);
    }

    function open() {
      source = new EventSource(`/jobs/${id}/events`);
      source.addEventListener("state", (event) => receive(JSON.parse(event.data)));
      source.addEventListener("error", () => {
        if (over) return;
        callbacks.lost();
        if (!suspended() && source.readyState === EventSource.CLOSED) void poll();
      });
    }

    // `EventSource` gives no reason for a refused stream, and does not reconnect after it.
    async function poll() {
      try {
        receive(await server.get(`/jobs/${id}`));
        if (!over) timer = setTimeout(open, AGAIN);
      } catch (error) {
        if (over) return;
        if (["not_found", "unauthorized", "forbidden"].includes(error.code)) {
          close();
          if (error.code === "not_found") callbacks.gone();
          else callbacks.failed(error);
        } else if (!suspended()) timer = setTimeout(poll, AGAIN);
      }
    }

    open();
    return close;
  }

  // If this request does not reach the server, the job has no event stream, and is cancelled after `GRACE`.
  const drop = (id) => void server.drop(`/jobs/${id}`, { keepalive: true }).catch(() => {});

  // One job: `id` (null until the server has returned it) and `stop`.
  function run(id, callbacks) {
    const job = { id, stop: () => {} };
    let stopped = false;
    let close = () => {};

    job.stop = () => {
      stopped = true;
      close();
      // Without an id yet: cancelled as soon as it arrives. Aborting the POST could leave a job with an unknown id.
      if (job.id) drop(job.id);
    };
    job.named = (state) => {
      job.id = state.id;
      if (stopped) return drop(state.id);
      callbacks.state(state);
      if (!OVER.includes(state.state) && !stopped) job.listen();
    };
    job.refused = (error) => void (stopped || callbacks.failed(error));
    job.listen = () => void (close = follow(job.id, callbacks));
    return job;
  }

  return {
    // Creates a job and follows it.
    draw(ask, callbacks) {
      const job = run(null, callbacks);
      server.post("/jobs", ask).then(job.named, job.refused);
      return job;
    },
    // Follows an existing job.
    resume(id, callbacks) {
      const job = run(id, callbacks);
      job.listen();
      return job;
    },
  };
})();
