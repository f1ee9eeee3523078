// What the server tells the page, in a small form. Imported first: modules read it when they are loaded.
const SIZES = {
  512: [[512, 512], [576, 448], null],
  1024: [
    [1024, 1024],
    [1152, 896],
    [1344, 768],
  ],
};
const OFFER = { min_side: 64, max_side: 2048, sizes: SIZES, styles: ["photo"], examples: {} };
const UNITS = { seconds: "{n} s", minutes: "{n} min", hours: "{n} h", days: "{n} d" };

globalThis.zimageFacts = {
  root_path: "",
  strings: {
    en: { side_missing: "a number is needed", link_number: "not a number: {got}", hello: "Hello {name}", ...UNITS },
    zh: { hello: "{name} 好" },
  },
  fields: ["prompt", "width", "height", "seed", "steps", "shift", "n"],
  numbers: ["width", "height", "seed", "steps", "shift", "n"],
  styles: { en: [["Photograph", "photo"]], zh: [["照片", "photo"]] },
  aspects: [
    [1, 1],
    [9, 7],
    [16, 9],
  ],
  models: { turbo: OFFER, base: OFFER },
  defaults: {
    turbo: { prompt: "", negative_prompt: "", style: null, width: 1024, height: 1024, steps: 8, guidance_scale: 0 },
    base: { prompt: "", negative_prompt: "", style: null, width: 512, height: 512, steps: 28, guidance_scale: 4 },
  },
  default_model: "turbo",
  model: { name: "turbo", title: "Turbo", note: "" },
  limits: { grid: 16, random_seed: -1, max_seed: 2 ** 32 - 1, max_pictures: 8, max_sequence_length: 1024 },
};
Object.defineProperty(globalThis, "navigator", { value: { language: "en-GB" } });
