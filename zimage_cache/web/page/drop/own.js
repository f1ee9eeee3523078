// Pictures of this server that are dragged from another tab: the browser adds a copy without settings, and the address.

const PICTURE = /^(images\/[^/]+|history\/\d+)(?:\.png|\/thumbnail\.webp)$/u;

/**
 * The path of the whole picture whose address, or that of its thumbnail, is the first in *list*; null where that is no
 * picture of the server at *root*.
 * @param {string} list of the type text/uri-list
 * @param {string} root the server's address, with a slash at its end
 */
export function ownPicture(list, root) {
  const first = list.split(/\r?\n/u).find((line) => line && !line.startsWith("#"));
  if (!(first && URL.canParse(first))) return null;
  const { origin, pathname } = new URL(first);
  const below = origin + pathname;
  const found = below.startsWith(root) && PICTURE.exec(below.slice(root.length));
  return found ? `/${found[1]}.png` : null;
}
