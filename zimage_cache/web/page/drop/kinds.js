// The kind of a picture file, by its first bytes: its name and type may be wrong.

/** @type {[string, [number, number[]][]][]} */
const KINDS = [
  ["PNG", [[0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]]]],
  ["JPEG", [[0, [0xff, 0xd8, 0xff]]]],
  [
    "WebP",
    [
      [0, [0x52, 0x49, 0x46, 0x46]],
      [8, [0x57, 0x45, 0x42, 0x50]],
    ],
  ],
  ["GIF", [[0, [0x47, 0x49, 0x46, 0x38]]]],
  ["AVIF", [[4, [0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69, 0x66]]]],
];

/**
 * Returns the name of a kind, or null for every other file.
 * @param {Blob} file
 */
export async function kindOf(file) {
  const bytes = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  const found = KINDS.find(([, parts]) =>
    parts.every(([at, expected]) => expected.every((byte, i) => bytes[at + i] === byte)),
  );
  return found?.[0] ?? null;
}
