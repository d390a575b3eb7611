// Puts the animated square back into the photo: as sharp as the photo, and without a seam.

import { cutOut, toPlanes } from "./pictures.js";

const EDGE = 0.03, BORDER = 0.08; // shares of the square's side: the photo alone, then the fade
const UNCHANGED = 0.015, CHANGED = 0.05; // differences of colour that count as none, and as whole

/** Return for each of `larger` places the four (or two) places that it is interpolated from, and their weights. */
function findTaps(length, larger, cubic) {
  const a = -0.75, taps = [], weights = [], count = cubic ? 4 : 2;
  for (let i = 0; i < larger; i++) {
    let place = ((i + 0.5) * length) / larger - 0.5;
    if (!cubic) place = Math.max(place, 0);
    const first = Math.floor(place), t = place - first;
    const near = (x) => ((a + 2) * x - (a + 3)) * x * x + 1, far = (x) => ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    const shares = cubic ? [far(t + 1), near(t), near(1 - t), far(2 - t)] : [1 - t, t];
    for (let k = 0; k < count; k++) {
      taps.push(Math.min(Math.max(first + k - (cubic ? 1 : 0), 0), length - 1));
      weights.push(shares[k]);
    }
  }
  return { taps: Int32Array.from(taps), weights: Float32Array.from(weights), count };
}

/** Enlarges planes of one size to another. */
class Enlarger {
  constructor(from, width, height, cubic) {
    [this.from, this.width, this.height] = [from, width, height];
    this.across = findTaps(from, width, cubic);
    this.down = findTaps(from, height, cubic);
  }

  /** Enlarge `planes`, from x from each, to `height` x `width` each. */
  enlarge(planes) {
    const { from, width, height, across, down } = this, count = planes.length / (from * from);
    const wide = new Float32Array(from * width), result = new Float32Array(count * width * height);
    for (let plane = 0; plane < count; plane++) {
      for (let y = 0; y < from; y++) {
        const row = (plane * from + y) * from;
        for (let x = 0; x < width; x++) {
          let sum = 0;
          for (let k = 0, at = x * across.count; k < across.count; k++, at++) sum += across.weights[at] * planes[row + across.taps[at]];
          wide[y * width + x] = sum;
        }
      }
      for (let y = 0; y < height; y++) {
        const to = (plane * height + y) * width;
        for (let k = 0, at = y * down.count; k < down.count; k++, at++) {
          const row = down.taps[at] * width, weight = down.weights[at];
          for (let x = 0; x < width; x++) result[to + x] += weight * wide[row + x];
        }
      }
    }
    return result;
  }
}

/** Return weights: 0 near both ends, 1 in the middle. */
function ramp(length) {
  return Float32Array.from({ length }, (_, i) => {
    const place = (i + 0.5) / length;
    const share = Math.min(Math.max((Math.min(place, 1 - place) - EDGE) / (BORDER - EDGE), 0), 1);
    return share * share * (3 - 2 * share);
  });
}

/** Puts animated frames of one part of a photo into the whole. */
export class Paste {
  /**
   * @param {import("./pictures.js").Picture} photo
   * @param {import("./pictures.js").Box} part the square that is animated
   * @param {Float32Array} rest three planes, the networks' picture of the unmoved photo
   * @param {number} side of that picture
   * @param {number} flowSide of the networks' motion
   */
  constructor(photo, part, rest, side, flowSide) {
    this.photo = photo;
    [this.side, this.flowSide, this.rest] = [side, flowSide, rest];
    const [x0, y0, x1, y1] = part.map(Math.round);
    [this.left, this.top, this.width, this.height] = [x0, y0, x1 - x0, y1 - y0];
    const { width, height } = this;
    this.colours = new Enlarger(side, width, height, true);
    this.shares = new Enlarger(side, width, height, false);
    this.flow = new Enlarger(flowSide, width, height, true);
    this.shown = new Enlarger(flowSide, width, height, false);
    this.detail = toPlanes(cutOut(photo, [x0, y0, x1, y1], width, height));
    this.colours.enlarge(rest).forEach((value, k) => { this.detail[k] -= value; });
    [this.columns, this.rows] = [ramp(width), ramp(height)];
  }

  /**
   * Return the photo with an animated picture in it.
   * @param {{prediction: Float32Array, deformation: Float32Array, occlusion?: Float32Array}} rendered
   * @returns {import("./pictures.js").Picture}
   */
  paste({ prediction, deformation, occlusion }) {
    const { photo, width, height, detail } = this, count = width * height;
    const data = photo.data.slice();
    const painted = this.colours.enlarge(prediction), flow = this.flow.enlarge(this.#displacement(deformation));
    const changed = this.shares.enlarge(this.#change(prediction));
    const shown = occlusion && this.shown.enlarge(occlusion);
    for (let y = 0; y < height; y++) {
      const row = this.top + y;
      if (row < 0 || row >= photo.height) continue;
      for (let x = 0; x < width; x++) {
        const column = this.left + x, at = y * width + x;
        if (column < 0 || column >= photo.width) continue;
        const difference = Math.min(Math.max((changed[at] - UNCHANGED) / (CHANGED - UNCHANGED), 0), 1);
        const weight = difference * Math.min(this.rows[y], this.columns[x]);
        if (weight === 0) continue;
        const u = x + (flow[at] * width) / 2, v = y + (flow[count + at] * height) / 2;
        const u0 = Math.floor(u), v0 = Math.floor(v), a = u - u0, b = v - v0, to = (row * photo.width + column) * 4;
        const share = shown ? shown[at] : 1, from = v0 * width + u0;
        const leftIn = u0 >= 0 && u0 < width, rightIn = u0 >= -1 && u0 + 1 < width;
        const upperIn = v0 >= 0 && v0 < height, lowerIn = v0 >= -1 && v0 + 1 < height;
        for (let c = 0; c < 3; c++) {
          const base = c * count + from;
          let moved = 0;
          if (upperIn && leftIn) moved += (1 - a) * (1 - b) * detail[base];
          if (upperIn && rightIn) moved += a * (1 - b) * detail[base + 1];
          if (lowerIn && leftIn) moved += (1 - a) * b * detail[base + width];
          if (lowerIn && rightIn) moved += a * b * detail[base + width + 1];
          const before = data[to + c];
          data[to + c] = before + weight * (255 * (moved * share + painted[c * count + at]) - before);
        }
      }
    }
    return { width: photo.width, height: photo.height, data };
  }

  /** Return how far each cell is moved, in halves of the square's sides: two planes. */
  #displacement(deformation) {
    const side = this.flowSide, planes = new Float32Array(2 * side * side), unit = (side - 1) / side;
    for (let y = 0, at = 0; y < side; y++) {
      for (let x = 0; x < side; x++, at++) {
        planes[at] = (deformation[2 * at] - ((2 * x) / (side - 1) - 1)) * unit;
        planes[side * side + at] = (deformation[2 * at + 1] - ((2 * y) / (side - 1) - 1)) * unit;
      }
    }
    return planes;
  }

  /** Return how much each pixel has changed since rest, as the mean of 5x5 of them. */
  #change(prediction) {
    const { side, rest } = this, count = side * side, most = new Float32Array(count), mean = new Float32Array(count);
    for (let i = 0; i < count; i++) {
      for (let c = 0; c < 3; c++) most[i] = Math.max(most[i], Math.abs(prediction[c * count + i] - rest[c * count + i]));
    }
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        let sum = 0;
        for (let v = Math.max(y - 2, 0); v <= Math.min(y + 2, side - 1); v++) {
          for (let u = Math.max(x - 2, 0); u <= Math.min(x + 2, side - 1); u++) sum += most[v * side + u];
        }
        mean[y * side + x] = sum / 25;
      }
    }
    return mean;
  }
}
