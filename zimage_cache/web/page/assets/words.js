// The page's texts in the browser's language, formatted numbers, and creation of elements without HTML text. Text of
// users is added to the page through `make` and `textContent` only.
"use strict";
window.zimage = (() => {
  const about = JSON.parse(document.getElementById("zimage-page").textContent);
  const language = (navigator.language || "en").toLowerCase().startsWith("zh") ? "zh" : "en";
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";

  const has = (key) => key in about.strings[language];

  function say(key, values = {}) {
    const word = about.strings[language][key] ?? key;
    return word.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? String(values[name]) : hole));
  }

  function time(seconds) {
    if (seconds < 0.1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
    if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
    if (seconds < 90) return `${Math.round(seconds)} s`;
    return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  }

  const AGES = [["year", 31536000], ["month", 2592000], ["week", 604800], ["day", 86400], ["hour", 3600], ["minute", 60]];
  const spoken = language === "zh" ? "zh-CN" : navigator.language.startsWith("en") ? navigator.language : "en-GB";
  const ages = new Intl.RelativeTimeFormat(spoken, { numeric: "auto", style: "short" });

  // A number of seconds as a relative time: "3 min ago".
  function age(seconds) {
    const [unit, size] = AGES.find(([, each]) => seconds >= each) ?? ["second", 1];
    return ages.format(-Math.floor(seconds / size), unit);
  }

  // *properties* are properties of the element; `dataset` and `aria` are attributes, by their names after the dash.
  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    const { dataset, aria = {}, ...plain } = properties;
    Object.assign(element, plain);
    Object.assign(element.dataset, dataset);
    for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, String(value));
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }

  // Sets the text of every [data-say] element below *root* from the table.
  function translate(root) {
    for (const element of root.querySelectorAll("[data-say]")) element.textContent = say(element.dataset.say);
  }

  return { about, language, has, say, time, age, make, translate };
})();
