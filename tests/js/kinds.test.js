import assert from "node:assert/strict";
import { it } from "node:test";
import { kindOf } from "../../zimage_cache/web/page/drop/kinds.js";

const kinds = (...files) => Promise.all(files.map((bytes) => kindOf(new Blob([new Uint8Array(bytes)]))));

it("a file is known by its first bytes", async () => {
  const png = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0];
  const webp = [0x52, 0x49, 0x46, 0x46, 0, 0, 0, 0, 0x57, 0x45, 0x42, 0x50];
  assert.deepEqual(await kinds(png, [0xff, 0xd8, 0xff, 0xe0], webp), ["PNG", "JPEG", "WebP"]);
});

it("a file that breaks off, or is something else, is none of them", async () => {
  assert.deepEqual(await kinds([], [0x89, 0x50], [0x52, 0x49, 0x46, 0x46]), [null, null, null]);
});
