// The stored pictures of a request: nothing is drawn for it.
import { finishDeletion } from "./deletion.js";
import { seedsOf } from "./seeds.js";
import { Refused, server } from "./server.js";

/** @import { LookedUp } from "./api.d.ts" */
/** @import { Ask, Result } from "./types.d.ts" */

/**
 * The pictures of *ask*, all of which are stored; null when one is not any more, or while the model is loading.
 * @param {Ask} ask
 * @returns {Promise<Result | null>}
 */
async function fetched(ask) {
  try {
    return await server.post("/generate", { ...ask, cache: "only" });
  } catch (error) {
    if (error instanceof Refused && ["not_cached", "loading"].includes(error.code)) return null;
    throw error;
  }
}

/**
 * The stored pictures of *ask*; null when one is missing, or where *some* are enough, when all are, with null for each
 * missing one. Asked first by a look-up: browsers report an answer that is an error, such as "not stored".
 * @param {Ask} ask
 * @returns {Promise<Result | null>}
 */
export async function stored(ask, some = false) {
  await finishDeletion(); // a deleted picture is not shown once more
  /** @type {LookedUp} */
  const { images: known } = await server.post("/lookup", ask);
  if (known.every(({ cached }) => cached)) return fetched(ask);
  if (!some) return null;
  const each = seedsOf(ask.seed, ask.n).map((seed, i) => (known[i]?.cached ? fetched({ ...ask, seed, n: 1 }) : null));
  const found = await Promise.all(each);
  const images = found.map((one) => one?.images[0] ?? null);
  return images.some(Boolean) ? { images, warnings: found.flatMap((one) => one?.warnings ?? []) } : null;
}
