// The theme, light or dark: the chosen one, or the system's. In the document itself this paints the outline of the page
// at once; page.js runs it again for what is there by then.
import { chosen } from "./preferences.js";

const system = matchMedia("(prefers-color-scheme: dark)");

export function paint() {
  const { theme } = chosen();
  const dark = theme ? theme === "dark" : system.matches;
  for (const element of [document.documentElement, document.body]) element?.classList.toggle("dark", dark);
  // Gradio takes its own theme from there when it starts, and does not follow the system's then, as `paint` does.
  document.querySelector("gradio-app")?.setAttribute("theme_mode", dark ? "dark" : "light");
}

/** Paints again whenever the system's theme changes. */
export const followSystem = () => system.addEventListener("change", paint);

paint();
