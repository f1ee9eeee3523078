// The page's scripts: connects each component with its element, and gives Gradio's events what they call.
import { advanced } from "./advanced/advanced.js";
import { bar } from "./bar/bar.js";
import { cache } from "./cache/cache.js";
import { card, generate, onResult, restore, stop } from "./card/card.js";
import "./done/done.js";
import { drop } from "./drop/drop.js";
import { header } from "./header/header.js";
import { history } from "./history/history.js";
import { events, form, named } from "./lib/form.js";
import { whenPartAdded } from "./lib/gradio.js";
import { age, language, translate } from "./lib/i18n.js";
import { isComposing } from "./lib/keys.js";
import "./known/known.js";
import "./lib/model_defaults.js";
import { server } from "./lib/server.js";
import { reopenTab } from "./lib/tabs.js";
import { preferences } from "./preferences/preferences.js";
import { prompt } from "./prompt/prompt.js";
import { queueRows } from "./queue/queue.js";
import { saved } from "./saved/saved.js";
import { seed } from "./seed/seed.js";
import "./shortcuts/shortcuts.js";
import { sides } from "./sides/sides.js";
import { similar } from "./similar/similar.js";
import { sizes } from "./sizes/sizes.js";
import { strip } from "./strip/strip.js";
import { styles } from "./styles/styles.js";
import { viewer } from "./viewer/viewer.js";

/**
 * The components with a script, by the name of their folder.
 * @type {Record<string, (root: HTMLElement) => void>}
 */
const components = {
  advanced,
  bar: bar.begin,
  cache,
  card,
  drop,
  header,
  history,
  preferences,
  prompt,
  queue: queueRows,
  saved,
  seed,
  sides,
  similar,
  sizes,
  strip,
  styles,
};

/**
 * @param {string[]} names
 * @param {unknown[]} held
 */
const drawForm = (names, held) => generate(named(names, held));

// Before every other listener, Gradio's too: in no field does a key of an input method do anything else.
addEventListener("keydown", (event) => isComposing(event) && event.stopImmediatePropagation(), { capture: true });
document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
whenPartAdded((element, name) => {
  const template = document.getElementById(`zi-template-${name}`);
  if (template instanceof HTMLTemplateElement) element.append(template.content.cloneNode(true));
  translate(element);
  components[name]?.(element);
});
void form.begun.then((opened) => {
  if (!opened) reopenTab();
  document.getElementById("zi-skeleton")?.remove();
  // The drawings of the styles are not needed before, see document.py.
  document.getElementById("zi-late")?.removeAttribute("disabled");
});

// The only global name: Gradio's events are strings of JavaScript, see `_wire` in create.py. Tests use the others.
Object.assign(globalThis, {
  zimage: {
    events: { ...events, generate: drawForm, stop },
    form,
    generate,
    onResult,
    restore,
    server,
    viewer,
    age,
  },
});
