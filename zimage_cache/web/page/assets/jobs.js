// A run on the server as the page follows it: asked for once, told of by a stream that comes back by itself, given up
// by Stop. A page that merely goes away gives nothing up: it may be a reload, and the server waits a while for it.
"use strict";
zimage.jobs = (() => {
  const { server } = zimage;
  const AGAIN = 1000; // ms between attempts to reach a server that is away
  const GRACE = 15000; // ms the server keeps the job of a page that does not listen
  const OVER = ["done", "failed", "cancelled"];

  // Tells *hear*.state(state) until one is final; .lost() while the server is out of reach; .gone() when it does not
  // know the job (any more); .failed(error) when it will not say. Returns what ends the listening.
  function follow(id, hear) {
    let over = false;
    let source = null;
    let timer = 0;
    let since = null; // when the server was lost

    function rest() {
      clearTimeout(timer);
      source?.close();
    }

    function close() {
      over = true;
      rest();
      document.removeEventListener("visibilitychange", seen);
    }

    // A hidden page tries as long as its job waits for it, and then no more until somebody looks.
    function tired() {
      since ??= performance.now();
      if (!document.hidden || performance.now() - since < GRACE) return false;
      rest();
      document.addEventListener("visibilitychange", seen);
      return true;
    }

    function seen() {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", seen);
      void look();
    }

    function told(state) {
      if (over) return;
      since = null;
      if (OVER.includes(state.state)) close();
      hear.state(state);
    }

    function open() {
      source = new EventSource(`/jobs/${id}/events`);
      source.addEventListener("state", (event) => told(JSON.parse(event.data)));
      source.addEventListener("error", () => {
        if (over) return;
        hear.lost();
        if (!tired() && source.readyState === EventSource.CLOSED) void look();
      });
    }

    // A stream that was refused cannot say why, and does not come back by itself.
    async function look() {
      try {
        told(await server.get(`/jobs/${id}`));
        if (!over) timer = setTimeout(open, AGAIN);
      } catch (error) {
        if (over) return;
        if (["not_found", "unauthorized", "forbidden"].includes(error.code)) {
          close();
          if (error.code === "not_found") hear.gone();
          else hear.failed(error);
        } else if (!tired()) timer = setTimeout(look, AGAIN);
      }
    }

    open();
    return close;
  }

  // Should this not reach the server, nobody listens any more all the same, and the job ends after its time of grace.
  const drop = (id) => void server.drop(`/jobs/${id}`, { keepalive: true }).catch(() => {});

  // One run: `id` (null until the server has named it) and `stop`.
  function run(id, hear) {
    const job = { id, stop: () => {} };
    let stopped = false;
    let close = () => {};

    job.stop = () => {
      stopped = true;
      close();
      // Not named yet: dropped as soon as it is. Aborting the POST could leave a job that nobody knows of.
      if (job.id) drop(job.id);
    };
    job.named = (state) => {
      job.id = state.id;
      if (stopped) return drop(state.id);
      hear.state(state);
      if (!OVER.includes(state.state) && !stopped) job.listen();
    };
    job.refused = (error) => void (stopped || hear.failed(error));
    job.listen = () => void (close = follow(job.id, hear));
    return job;
  }

  return {
    // Ask for pictures and hear how it goes.
    draw(ask, hear) {
      const job = run(null, hear);
      server.post("/jobs", ask).then(job.named, job.refused);
      return job;
    },
    // Go on hearing of a job asked for before.
    resume(id, hear) {
      const job = run(id, hear);
      job.listen();
      return job;
    },
  };
})();
