// Boxes: x0, y0, x1, y1 in pixels.

/** Return the area of a box, 0 for what is none. */
export function area([x0, y0, x1, y1]) {
  return Math.max(x1 - x0, 0) * Math.max(y1 - y0, 0);
}

/** Return what two boxes share. */
export function intersection(a, b) {
  return [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
}

/** Return the intersection of two boxes over their union, in [0, 1]. */
export function overlap(a, b) {
  const shared = area(intersection(a, b)), joined = area(a) + area(b) - shared;
  return joined > 0 ? shared / joined : 0;
}

/** Return the box around a face and its forehead; the detector's own begins at the brows. */
export function headBox({ box: [x0, y0, x1, y1] }) {
  return [x0, y0 - (y1 - y0) / 3, x1, y1];
}

/** Return the square around a box whose side is 1.2 times the longer side of it. */
export function squareAround([x0, y0, x1, y1]) {
  const half = 0.6 * Math.max(x1 - x0, y1 - y0), x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  return [x - half, y - half, x + half, y + half];
}

/** Return a square, grown on each side and moved up by shares of its side. */
export function giveRoom([x0, y0, x1, y1], [around, above]) {
  const grown = around * (x1 - x0), up = above * (x1 - x0);
  return [x0 - grown, y0 - grown - up, x1 + grown, y1 + grown - up];
}
