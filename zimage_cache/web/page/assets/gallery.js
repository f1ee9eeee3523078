// The view of the History tab: pictures by day, and a view for each state of the list; display only.
"use strict";
zimage.galleryViews = (root, on) => {
  const { language, make, say, server } = zimage;
  const gallery = root.querySelector(".zi-history");
  const find = (name) => gallery.querySelector(`.zi-h-${name}`);
  const search = gallery.querySelector("input");
  const english = navigator.language?.startsWith("en") ? navigator.language : "en";
  const dates = new Intl.DateTimeFormat(language === "zh" ? "zh-CN" : english, { dateStyle: "full" });
  // A picture that stays listed keeps its element, so it is not loaded again and keeps the focus.
  let tiles = new Map(); // by the picture's URL
  let days = new Map(); // by midnight

  const has = (picture) => Object.keys(picture.parameters).length > 0;
  const words = (picture) => String(picture.parameters.prompt || "").trim();

  function view(name) {
    gallery.dataset.view = name;
  }

  // ---- one picture ----

  // The picture's aspect ratio, limited so that a very narrow one can still be clicked.
  const shape = ({ width, height }) => Math.min(2.4, Math.max(0.56, width / height || 1));

  function act(name, picture, glyph, does) {
    const label = say(name, { name: words(picture) || picture.name });
    const button = make("button", { type: "button", className: `zi-h-act zi-h-act-${glyph}`, title: say(name, { name: "" }).trim() },
      make("span", { className: `zi-glyph zi-glyph-${glyph}` }));
    button.setAttribute("aria-label", label);
    button.addEventListener("click", does);
    return button;
  }

  function tile(picture) {
    const text = words(picture) || (has(picture) ? picture.name : `${picture.name} · ${say("history_bare")}`);
    const image = make("img", {
      src: picture.thumbnail_url,
      loading: "lazy",
      decoding: "async",
      draggable: false,
      width: picture.width,
      height: picture.height,
      alt: words(picture) ? say("picture_alt", { prompt: words(picture) }) : say("history_bare_alt", { name: picture.name }),
    });
    const pick = make("button", { type: "button", className: "zi-h-pick", title: words(picture) || picture.name }, image);
    const made = make("li", { className: "zi-h-tile", dataset: { id: picture.id } },
      pick,
      make("span", { className: "zi-h-acts" },
        act("history_open", picture, "full", () => on.open(picture)),
        act("history_remove", picture, "bin", () => on.remove(picture))),
      make("span", { className: has(picture) ? "zi-h-said" : "zi-h-said zi-h-bare" }, text));
    made.style.setProperty("--ratio", String(shape(picture)));
    image.addEventListener("error", () => on.unseen(picture));
    pick.addEventListener("click", () => on.pick(picture));
    pick.addEventListener("keydown", (event) => void (event.key === "Delete" && on.remove(picture)));
    return made;
  }

  // For a file without a thumbnail: damaged, or too large.
  const unshown = (picture) => tiles.get(picture.image_url)?.classList.add("zi-h-unshown");

  const shown = (picture) => {
    const known = tiles.get(picture.image_url);
    return known?.classList.contains("zi-h-unshown") ? null : known;
  };

  // ---- the list ----

  const midnight = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate()).getTime();

  function dayName(day) {
    const now = new Date();
    if (day === midnight(now)) return say("history_today");
    now.setDate(now.getDate() - 1);
    return day === midnight(now) ? say("history_yesterday") : dates.format(day);
  }

  function dayOf(day, own) {
    const id = `zi-h-day-${day}`;
    const section = days.get(day) ?? make("section", { className: "zi-h-day" },
      make("h2", { id }), make("ul", { className: "zi-h-row" }));
    section.setAttribute("aria-labelledby", id);
    section.firstElementChild.textContent = dayName(day);
    settle(section.lastElementChild, own);
    return section;
  }

  // Puts the elements *wanted* into *parent*, in order; elements already in their place are not touched.
  function settle(parent, wanted) {
    const kept = new Set(wanted);
    for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
    let next = parent.firstElementChild;
    for (const element of wanted) {
      if (element === next) next = next.nextElementSibling;
      else parent.insertBefore(element, next);
    }
  }

  function draw(pictures) {
    tiles = new Map(pictures.map((picture) => [picture.image_url, shown(picture) ?? tile(picture)]));
    const byDay = new Map();
    for (const picture of pictures) {
      const day = midnight(new Date(picture.made));
      byDay.set(day, [...(byDay.get(day) ?? []), tiles.get(picture.image_url)]);
    }
    days = new Map([...byDay].map(([day, own]) => [day, dayOf(day, own)]));
    settle(find("days"), [...days.values()]);
  }

  function count(n, query, more) {
    if (!n) return query ? say("history_found_none") : "";
    const kind = query ? "found" : "count";
    return say(`history_${kind}${more ? "_more" : n === 1 ? "_one" : ""}`, { n: n.toLocaleString(language) });
  }

  function list({ pictures, query, more }) {
    draw(pictures);
    find("count").textContent = count(pictures.length, query, more);
    find("none-title").textContent = say("history_none_title", { query });
    find("below").hidden = !more;
    view(pictures.length ? "list" : query ? "none" : "empty");
  }

  function failed(error) {
    find("count").textContent = "";
    find("error-title").textContent = say(error.code === "unreachable" ? "error_unreachable" : "history_error_title");
    find("error-text").textContent = server.why(error);
    view("error");
  }

  // A line above the pictures: a notice or an error.
  function notice(text) {
    find("notice-text").textContent = text;
    find("notice").classList.remove("zi-h-bad");
    find("notice-retry").hidden = true;
  }

  function trouble(error) {
    const { code, field, reason } = error;
    // Without the field's name, because the search is right above.
    const why = field === "query" ? reason : server.why(error);
    notice(code === "unreachable" ? `${say("error_unreachable")}. ${why}` : why);
    find("notice").classList.add("zi-h-bad");
    // Repeating an invalid request would not help.
    find("notice-retry").hidden = code === "invalid_request";
  }

  function busy(is, more = false) {
    gallery.setAttribute("aria-busy", String(is));
    find("more").classList.toggle("zi-h-waits", is && more);
  }

  // The element that receives the focus of a deleted picture: the next picture, the previous one, or the search box.
  function neighbour(picture) {
    const all = [...tiles.keys()];
    const at = all.indexOf(picture.image_url);
    const near = tiles.get(all[at + 1] ?? all[at - 1]);
    return near?.querySelector("button") ?? search;
  }

  // ---- confirmation before a picture is deleted ----

  const confirm = find("confirm");

  function ask(picture) {
    confirm.querySelector("img").src = picture.thumbnail_url;
    find("what-prompt").textContent = words(picture);
    find("what-name").textContent = picture.name;
    asked("");
    confirm.showModal();
  }

  function asked(trouble, waiting = false) {
    confirm.querySelector(".zi-sheet-error").textContent = trouble;
    find("yes").disabled = waiting;
  }

  zimage.translate(root);
  search.placeholder = say("history_search_hint");
  search.setAttribute("aria-label", say("history_search"));
  notice("");
  return { list, failed, notice, trouble, busy, unshown, neighbour, ask, asked, find, search, confirm, gallery };
};
