import assert from "node:assert/strict";
import { it } from "node:test";
import { ownPicture } from "../../zimage_cache/web/page/drop/own.js";

const ROOT = "http://127.0.0.1:7860/zimage/";

it("pictures of this server are known by their addresses, and thumbnails stand for them", () => {
  for (const [list, path] of [
    [`${ROOT}images/abc.png`, "/images/abc.png"],
    [`${ROOT}images/abc.png?v=12345678#x`, "/images/abc.png"],
    [`${ROOT}images/abc/thumbnail.webp`, "/images/abc.png"],
    [`${ROOT}history/17.png?v=1`, "/history/17.png"],
    [`${ROOT}history/17/thumbnail.webp?v=1`, "/history/17.png"],
    [`# a comment\r\n\r\n${ROOT}images/abc.png\r\nhttp://other.example/\r\n`, "/images/abc.png"],
    ["http://ann:secret@127.0.0.1:7860/zimage/images/abc.png", "/images/abc.png"],
  ]) {
    assert.equal(ownPicture(list, ROOT), path, list);
  }
});

it("other addresses are not", () => {
  for (const list of [
    "",
    "# only a comment",
    "no address",
    "https://example.com/x.png",
    "http://127.0.0.1:7860/images/abc.png",
    "http://127.0.0.1:7861/zimage/images/abc.png",
    "http://127.0.0.1:7860.evil.example/zimage/images/abc.png",
    `${ROOT}images/../cache/abc.png`,
    `${ROOT}images/a/b.png`,
    `${ROOT}history/x.png`,
    ROOT,
    `https://example.com/\n${ROOT}images/abc.png`,
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
  ]) {
    assert.equal(ownPicture(list, ROOT), null, list);
  }
});
