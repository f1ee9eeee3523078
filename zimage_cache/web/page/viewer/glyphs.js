// The viewer's icons: drawn as lines, because it is outside of the container that the page's other icons are for.
/** @typedef {keyof typeof GLYPHS} Glyph */

const GLYPHS = {
  farther: "M5 12h14",
  closer: "M5 12h14M12 5v14",
  fit: "M4 9V5h4M20 9V5h-4M4 15v4h4M20 15v4h-4M9 9.500h6v5H9z",
  full: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  download: "M12 4v11m-4.500-4.500L12 15l4.500-4.500M5 20h14",
  close: "M6 6l12 12M18 6 6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  info: "M12 11v6M12 7.200v.1M3.500 12a8.500 8.500 0 1 0 17 0 8.500 8.500 0 1 0-17 0",
  use: "M4 7h7.500m5 0H20M4 17h3.500m5 0H20M14 4.800a2.200 2.200 0 1 0 .01 0M10 14.800a2.200 2.200 0 1 0 .01 0",
  star: "M12 3.600l2.600 5.300 5.800.8-4.200 4.100 1 5.800-5.200-2.700-5.200 2.700 1-5.800-4.200-4.100 5.800-.8z",
  link: "M10 14a4.500 4.500 0 0 0 6.400 0l3.200-3.200a4.500 4.500 0 0 0-6.400-6.400L12 5.600M14 10a4.500 4.500 0 0 0-6.400 0l-3.200 3.200a4.500 4.500 0 0 0 6.400 6.400L12 18.400",
  compare: "M12 3v18M8 6H4v12h4M16 6h4v12h-4",
  formats: "M6 9.500l6 6 6-6",
  remove: "M4 7h16M9 7V4h6v3M6.500 7l1 13h9l1-13M10 11v5M14 11v5",
};

/** @param {Glyph} name */
export function glyph(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", GLYPHS[name]);
  svg.append(path);
  return svg;
}
