// Choice of sizes: aspect ratio, size class, orientation. The present choice is derived from the form's values.
"use strict";
(() => {
  const { about, access, form, make, say, translate } = zimage;
  const SIDES = ["width", "height"];
  const GRID = 16;
  const DRAWN = 17; // px: side of the square's icon; icons of other shapes have the same area

  const offered = (values) => about.models[values.model] ?? about.models[about.default_model];
  const distance = (a, b) => Math.abs(Math.log(a / b));
  const nearest = (candidates, to) => candidates.reduce((best, one) => (to(one) < to(best) ? one : best));

  // The place of the form's size in the table of sizes. `exact` is false for other sizes, at the nearest place.
  function placed({ sizes }, { width, height }) {
    const [long, short] = [Math.max(width, height), Math.min(width, height)];
    for (const [side, places] of Object.entries(sizes)) {
      const place = places.findIndex((size) => size?.[0] === long && size[1] === short);
      if (place >= 0) return { side, place, exact: true };
    }
    const shape = (place) => distance(about.aspects[place][0] / about.aspects[place][1], long / short || 1);
    return {
      side: nearest(Object.keys(sizes), (side) => distance(side * side, width * height || side * side)),
      place: nearest([...about.aspects.keys()], shape),
      exact: false,
    };
  }

  // The size at *place* in the class *side*; if there is none, the nearest one of that class or that aspect ratio.
  function sized(sizes, side, place, keep) {
    if (sizes[side][place]) return sizes[side][place];
    if (keep === "place") return sizes[nearest(Object.keys(sizes).filter((one) => sizes[one][place]), (one) => distance(one, side))][place];
    const shape = ([width, height]) => distance(width / height, about.aspects[place][0] / about.aspects[place][1]);
    return nearest(sizes[side].filter(Boolean), shape);
  }

  function radio(group, value, ...inside) {
    const input = make("input", { type: "radio", name: group, value });
    return make("label", {}, input, ...inside);
  }

  function check(group, value) {
    for (const input of group.querySelectorAll("input")) input.checked = input.value === value;
  }

  zimage.sizes = (root) => {
    const classes = root.querySelector(".zi-classes");
    const aspects = root.querySelector(".zi-aspects");
    const turn = root.querySelector(".zi-turn");
    let upright = false;
    let model = null;

    const fill = ([long, short]) => form.fill(upright ? { width: short, height: long } : { width: long, height: short });

    function pick({ side, place }, keep) {
      const at = placed(offered(form.values), form.values);
      fill(sized(offered(form.values).sizes, side ?? at.side, place ?? at.place, keep));
    }

    const pixels = (side) => (side < 1000 ? `${side} px` : `${Math.round((side * side) / 1e5) / 10} MP`);

    function offer({ sizes }) {
      classes.replaceChildren(...Object.keys(sizes).map((side) => {
        const label = radio("zi-class", side, make("span", {}, pixels(Number(side))));
        label.title = `${side} × ${side}`;
        return label;
      }));
      classes.hidden = Object.keys(sizes).length < 2;
    }

    function draw(values) {
      const { sizes } = offered(values);
      const at = placed({ sizes }, values);
      for (const [place, label] of [...aspects.children].entries()) {
        const [long, short] = about.aspects[place];
        const [shape, name] = label.querySelectorAll("span");
        const drawn = [long / short, short / long].map((ratio) => `${(DRAWN * Math.sqrt(ratio)).toFixed(1)}px`);
        Object.assign(shape.style, upright ? { width: drawn[1], height: drawn[0] } : { width: drawn[0], height: drawn[1] });
        name.textContent = upright ? `${short}:${long}` : `${long}:${short}`;
        const size = sized(sizes, at.side, place, "place");
        label.title = (upright ? [...size].reverse() : size).join(" × ");
      }
      check(aspects, at.exact ? String(at.place) : "");
      check(classes, at.exact ? at.side : "");
    }

    function show(values) {
      if (values.model !== model) offer(offered(values));
      model = values.model;
      if (values.width !== values.height && values.width && values.height) upright = values.height > values.width;
      draw(values);
    }

    translate(root);
    classes.setAttribute("aria-label", say("size_class"));
    aspects.setAttribute("aria-label", say("size_shape"));
    Object.assign(turn, { title: say("size_turn") }).setAttribute("aria-label", say("size_turn"));
    aspects.append(...about.aspects.map((_, place) =>
      radio("zi-aspect", String(place), make("span", { className: "zi-shape" }), make("span", {}))));
    aspects.addEventListener("change", (event) => pick({ place: Number(event.target.value) }, "place"));
    classes.addEventListener("change", (event) => pick({ side: event.target.value }, "side"));
    turn.addEventListener("click", () => {
      const { width, height } = form.values;
      upright = !upright;
      if (width === height) draw(form.values);
      else form.fill({ width: height, height: width });
    });
    form.changed(show);
  };

  // ---- sides as numbers ----

  zimage.sides = (root) => {
    const hint = root.querySelector(".zi-side-hint");
    let shown = "";

    const right = (side, { min_side: least, max_side: most }) =>
      Number.isInteger(side) && side % GRID === 0 && side >= least && side <= most;

    function mended(side, { min_side: least, max_side: most }) {
      return Math.min(Math.max(Math.round(side / GRID) * GRID, least), most);
    }

    function complaint(name, side, model) {
      const rule = `${say(name)}: ${say("side_rule", { least: model.min_side, most: model.max_side })}`;
      if (side == null) return [rule];
      const use = make("button", { type: "button", className: "zi-link" }, say("side_nearest", { side: mended(side, model) }));
      use.addEventListener("click", () => {
        form.fill({ [name]: mended(side, model) });
        document.querySelector(`#zi-${name} input`).focus();
      });
      return [`${rule} `, use];
    }

    function judge(values) {
      const model = offered(values);
      const wrong = SIDES.filter((name) => !right(values[name], model));
      for (const name of SIDES) {
        access.set(document.querySelector(`#zi-${name} input`), {
          "aria-describedby": hint.id,
          "aria-invalid": String(wrong.includes(name)),
        });
      }
      // Only changed values are written.
      const told = JSON.stringify([wrong.map((name) => [name, values[name]]), values.model]);
      if (told === shown) return;
      shown = told;
      hint.classList.toggle("zi-off", wrong.length > 0);
      hint.replaceChildren(...(wrong.length
        ? wrong.map((name) => make("span", {}, ...complaint(name, values[name], model)))
        : [say("side_rule", { least: model.min_side, most: model.max_side })]));
    }

    form.changed(judge);
  };

  // ---- another model ----

  // When the user chooses another model, its defaults are set, except in fields with values other than the previous
  // model's defaults. Not when a script fills the form, because it sets the other fields itself.
  let before = null;
  form.changed((values, how) => {
    const [old, now] = [before?.model, values.model].map((model) => about.defaults[model] ?? {});
    if (how === "typed" && before && before.model !== values.model) {
      const alike = (name) => values[name] === old[name];
      const follows = (name) => (SIDES.includes(name) ? SIDES.every(alike) : alike(name));
      const fields = Object.entries(now).filter(([name, value]) => value !== old[name] && follows(name));
      if (fields.length) form.fill(Object.fromEntries(fields));
    }
    before = values;
  });
})();
