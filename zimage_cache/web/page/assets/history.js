// The History tab: what was made, newest first. Asks when it comes into view and after a new result; never while hidden.
"use strict";
zimage.history = (root) => {
  const { say, server, tablist } = zimage;
  const PAGE = 48;
  const MOST = 200; // the API's most in one answer
  const TYPING = 300; // ms of quiet before what was typed is looked for
  const LATE = 400; // ms; a picture is shown before its copy is written
  let listed = { pictures: [], query: "", cursor: null };
  let loaded = false;
  let asking = null; // aborts the question under way
  let typing = 0;
  let doomed = null; // the picture somebody is asked about
  let late = 0;

  // ---- the list ----

  const query = () => views.search.value.trim();

  async function ask(wanted, more) {
    asking?.abort();
    const mine = (asking = new AbortController());
    views.busy(true, more);
    try {
      return await server.get(`/history?${new URLSearchParams(wanted)}`, { signal: mine.signal });
    } finally {
      if (asking === mine) {
        asking = null;
        views.busy(false);
      }
      // An older question's answer or error is nobody's.
      if (mine.signal.aborted) throw null;
    }
  }

  function show(next) {
    listed = next;
    loaded = true;
    views.list({ ...listed, more: listed.cursor !== null });
    // Anew: an end that was in sight before and still is would not be told again.
    bottom.unobserve(views.find("below"));
    bottom.observe(views.find("below"));
  }

  // From the top; as many as there are now, so that nothing below is lost.
  async function refresh() {
    const wanted = query();
    const limit = wanted === listed.query ? Math.min(MOST, Math.max(PAGE, listed.pictures.length)) : PAGE;
    try {
      const found = await ask({ query: wanted, limit });
      views.notice("");
      show({ ...found, query: wanted });
    } catch (error) {
      if (error) failed(error, wanted);
    }
  }

  async function more() {
    if (asking || listed.cursor === null) return;
    const { pictures, query: wanted, cursor } = listed;
    try {
      const found = await ask({ query: wanted, limit: PAGE, cursor }, true);
      const known = new Set(pictures.map(({ id }) => id));
      show({ ...found, query: wanted, pictures: [...pictures, ...found.pictures.filter(({ id }) => !known.has(id))] });
    } catch (error) {
      if (error) views.trouble(error);
    }
  }

  // What is on the page stays there: old pictures are worth more than a large complaint.
  function failed(error, wanted) {
    if (loaded && (wanted === listed.query || error.code === "invalid_request")) views.trouble(error);
    else views.failed(error);
  }

  // ---- one picture ----

  const seen = (picture) => ({
    image_url: picture.image_url,
    alt: picture.parameters.prompt ? say("picture_alt", { prompt: picture.parameters.prompt }) : picture.name,
    seed: picture.parameters.seed ?? "–",
    width: picture.width,
    height: picture.height,
  });

  function open(picture) {
    zimage.viewer.open(listed.pictures.map(seen), listed.pictures.indexOf(picture));
  }

  // Whether somebody took its file away since it was listed.
  const gone = async ({ image_url }) => (await fetch(image_url, { method: "HEAD", cache: "no-store" })).status === 404;

  async function pick(picture) {
    if (!Object.keys(picture.parameters).length) {
      views.notice(say("history_bare_said", { name: picture.name }));
      open(picture);
      return;
    }
    const lost = await gone(picture).catch(() => false); // a server that is away says so on the card
    tablist.open("create");
    // The settings are listed here, and the cache may have the picture still.
    void zimage.restore(picture.parameters, lost ? {} : { image: picture.image_url });
    if (lost) missed(picture);
  }

  function drop(picture) {
    const heir = views.neighbour(picture);
    const had = views.gallery.contains(document.activeElement);
    show({ ...listed, pictures: listed.pictures.filter(({ id }) => id !== picture.id) });
    if (had && !views.gallery.contains(document.activeElement)) heir.focus();
  }

  // Its thumbnail does not come: gone from the folder, or merely not showable?
  async function unseen(picture) {
    // Where the server is away, the next question to it says so.
    if (await gone(picture).catch(() => false)) missed(picture);
    else views.unshown(picture);
  }

  function missed(picture) {
    drop(picture);
    views.notice(say("history_gone", { name: picture.name }));
  }

  function remove(picture) {
    doomed = picture;
    views.ask(picture);
  }

  async function reallyRemove() {
    const picture = doomed;
    views.asked("", true);
    let said = "history_deleted";
    try {
      await server.drop(`/history/${picture.id}`);
    } catch (error) {
      if (error.code !== "not_found") {
        views.asked(server.why(error));
        return;
      }
      said = "history_gone";
    }
    // Asked for before the dialog closes: it gives the focus back to what is about to go.
    const heir = views.neighbour(picture);
    views.confirm.close();
    drop(picture);
    heir.focus();
    views.notice(say(said, { name: picture.name }));
  }

  // ---- when to ask ----

  let fresh = []; // keys of what was drawn since the list was last asked for

  // A new picture's copy may be written a moment after it is shown: asked for a few times, then left to the next look.
  function follow(keys, tries = 4) {
    clearTimeout(late);
    fresh = [];
    if (!tries || !tablist.seen(root)) return;
    void refresh().then(() => {
      const there = new Set(listed.pictures.map(({ key }) => key));
      if (query() || keys.every((key) => there.has(key))) return;
      late = setTimeout(follow, LATE * 2 ** (4 - tries), keys, tries - 1);
    });
  }

  function drawn(ask, images) {
    if (ask.cache === "bypass") return;
    fresh = [...fresh, ...images.filter(({ source }) => source === "generated").map(({ key }) => key)];
    if (fresh.length && tablist.seen(root)) follow(fresh);
  }

  const views = zimage.galleryViews(root, { pick, open, remove, unseen });
  const bottom = new IntersectionObserver(([entry]) => void (entry.isIntersecting && more()), { rootMargin: "400px" });

  views.search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(refresh, TYPING);
  });
  views.search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    clearTimeout(typing);
    void refresh();
  });
  // Esc stops a run and Ctrl+Enter begins one: not from here, where neither can be seen.
  views.gallery.addEventListener("keydown", (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && (event.ctrlKey || event.metaKey))) event.stopPropagation();
  });
  for (const name of ["retry", "notice-retry"]) views.find(name).addEventListener("click", () => void refresh());
  views.find("more").addEventListener("click", () => void more());
  views.find("create").addEventListener("click", () => tablist.open("create"));
  views.find("clear").addEventListener("click", () => {
    views.search.value = "";
    views.search.focus();
    void refresh();
  });
  views.find("yes").addEventListener("click", () => void reallyRemove());
  views.find("no").addEventListener("click", () => views.confirm.close());
  views.confirm.addEventListener("click", (event) => void (event.target === views.confirm && views.confirm.close()));
  zimage.onResult(drawn);
  tablist.onSeen(root, () => follow(fresh));
};
