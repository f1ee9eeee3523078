// The History tab: pictures, newest first. Reloads when it comes into view and after new results, not while hidden.
"use strict";
zimage.history = (root) => {
  const { say, server, tablist } = zimage;
  const PAGE = 48;
  const MOST = 200; // the API's most in one answer
  const TYPING = 300; // ms without typing before a search
  const LATE = 400; // ms; a picture is shown before its file is written
  let listed = { pictures: [], query: "", cursor: null };
  let loaded = false;
  let asking = null; // aborts the running request
  let typing = 0;
  let doomed = null; // the picture in the confirmation dialog
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
      // The answer or error of an older request is ignored.
      if (mine.signal.aborted) throw null;
    }
  }

  function show(next) {
    listed = next;
    loaded = true;
    views.list({ ...listed, more: listed.cursor !== null });
    // Observed again: an end that stays visible would not be reported again.
    bottom.unobserve(views.find("below"));
    bottom.observe(views.find("below"));
  }

  // Reloads from the top as many pictures as are listed now, so that the lower ones stay.
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

  // After an error, the listed pictures stay, and the error is shown as one line.
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

  // Whether the file was deleted since it was listed.
  const gone = async ({ image_url }) => (await fetch(image_url, { method: "HEAD", cache: "no-store" })).status === 404;

  async function pick(picture) {
    if (!Object.keys(picture.parameters).length) {
      views.notice(say("history_bare_said", { name: picture.name }));
      open(picture);
      return;
    }
    const lost = await gone(picture).catch(() => false); // an unreachable server is reported on the card
    tablist.open("create");
    // The settings are known, and the cache may still have the picture.
    void zimage.restore(picture.parameters, lost ? {} : { image: picture.image_url });
    if (lost) missed(picture);
  }

  function drop(picture) {
    const heir = views.neighbour(picture);
    const had = views.gallery.contains(document.activeElement);
    show({ ...listed, pictures: listed.pictures.filter(({ id }) => id !== picture.id) });
    if (had && !views.gallery.contains(document.activeElement)) heir.focus();
  }

  // The thumbnail failed to load: checks whether the file is missing or only cannot be shown.
  async function unseen(picture) {
    // An unreachable server is reported by the next request.
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
    // Determined before the dialog closes, because closing returns the focus to the element that is deleted.
    const heir = views.neighbour(picture);
    views.confirm.close();
    drop(picture);
    heir.focus();
    views.notice(say(said, { name: picture.name }));
  }

  // ---- when to reload ----

  let fresh = []; // keys of the pictures drawn since the list was last loaded

  // The file of a new picture may be written after it is shown: the list is reloaded a few times until it has it.
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
  // On other tabs Esc stops a run and Ctrl+Enter starts one; not on this tab, where runs are not visible.
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
