// How several pictures share the room of the card.

/**
 * The number of columns with which *n* equal pictures are largest in a room of *width* by *height* pixels, where each has
 * *below* pixels of text. *wide*: width of a picture divided by its height.
 * @param {{ n: number, wide: number, width: number, height: number, gap: number, below: number }} room
 */
export function columnsFor({ n, wide, width, height, gap, below }) {
  /** @param {number} columns */
  function pictureWidth(columns) {
    const rows = Math.ceil(n / columns);
    const [across, down] = [(width - gap * (columns - 1)) / columns, (height - gap * (rows - 1)) / rows - below];
    return Math.min(across, down * wide);
  }
  let best = 1;
  for (let columns = 2; columns <= n; columns += 1) if (pictureWidth(columns) > pictureWidth(best)) best = columns;
  return best;
}

/**
 * The seconds of each picture alone. Those of a picture that was drawn count from the request, and so include the
 * pictures that were drawn before it.
 * @param {{ seconds?: number | null | undefined, cached?: boolean | undefined }[]} images
 */
export function ownSeconds(images) {
  const drawn = images.flatMap(({ seconds, cached }) => (cached || seconds == null ? [] : [seconds]));
  return images.map(({ seconds, cached }) => {
    if (cached || seconds == null) return seconds ?? null;
    return seconds - Math.max(0, ...drawn.filter((other) => other < seconds));
  });
}
