// Notifications of the system, where the browser has them and the person allows them.

const has = () => "Notification" in globalThis;

export const noticesAllowed = () => has() && Notification.permission === "granted";

/** Asks for the permission; browsers ask the person once, and answer by themselves from then on. */
export const allowNotices = async () => has() && (await Notification.requestPermission()) === "granted";

/**
 * Shows a notification; a click on it brings this tab to the front.
 * @param {string} title
 * @param {{ body: string, icon: string }} options
 */
export function notice(title, options) {
  if (!noticesAllowed()) return;
  try {
    const shown = new Notification(title, options);
    shown.addEventListener("click", () => {
      window.focus();
      shown.close();
    });
  } catch {
    // Chrome on Android has no such notifications.
  }
}
