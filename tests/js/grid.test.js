import assert from "node:assert/strict";
import it from "node:test";

const { columnsFor, ownSeconds } = await import("../../zimage_cache/web/page/card/grid.js");

const ROOM = { width: 773, height: 560, gap: 10, below: 60 };

it("columns are those with the largest pictures", () => {
  assert.equal(columnsFor({ ...ROOM, n: 4, wide: 9 / 16 }), 4);
  assert.equal(columnsFor({ ...ROOM, n: 4, wide: 1 }), 2);
  assert.equal(columnsFor({ ...ROOM, n: 2, wide: 1 }), 2);
  assert.equal(columnsFor({ ...ROOM, n: 2, wide: 21 / 9 }), 1);
  assert.equal(columnsFor({ ...ROOM, n: 8, wide: 1 }), 4);
  assert.equal(columnsFor({ ...ROOM, n: 1, wide: 1 }), 1);
});

it("no other number of columns has larger pictures", () => {
  for (const n of [1, 2, 3, 4, 5, 6, 7, 8]) {
    for (const wide of [9 / 21, 9 / 16, 3 / 4, 1, 4 / 3, 16 / 9, 21 / 9]) {
      const size = (columns) => {
        const rows = Math.ceil(n / columns);
        const across = (ROOM.width - ROOM.gap * (columns - 1)) / columns;
        return Math.min(across, ((ROOM.height - ROOM.gap * (rows - 1)) / rows - ROOM.below) * wide);
      };
      const chosen = size(columnsFor({ ...ROOM, n, wide }));
      for (let other = 1; other <= n; other += 1) assert.ok(size(other) <= chosen + 1e-9, `${n} of ${wide}`);
    }
  }
});

it("a room without a size has an answer too", () => {
  assert.equal(columnsFor({ n: 4, wide: 1, width: 0, height: 0, gap: 10, below: 60 }), 4);
});

it("each drawn picture has its own seconds", () => {
  const images = [
    { seconds: 0.5, cached: false },
    { seconds: 0.001, cached: true },
    { seconds: 0.75, cached: false },
    {},
    { seconds: 1, cached: false },
  ];
  assert.deepEqual(ownSeconds(images), [0.5, 0.001, 0.25, null, 0.25]);
});

it("two pictures that came together are not negative", () => {
  assert.deepEqual(ownSeconds([{ seconds: 2 }, { seconds: 2 }]), [2, 2]);
});
