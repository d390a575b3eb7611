// Pictures: cut, resized and sampled as fomm does it, so that the networks see the same here and there.

/**
 * A picture: `data` holds red, green, blue and alpha of each pixel, bytes, row by row.
 * @typedef {{width: number, height: number, data: Uint8ClampedArray}} Picture
 */

/**
 * A part of a picture: x0, y0, x1, y1 in pixels; pixel i covers [i, i + 1). It may leave the picture.
 * @typedef {[number, number, number, number]} Box
 */

const FILTERS = {
  box: [0.5, (x) => (x > -0.5 && x <= 0.5 ? 1 : 0)],
  bilinear: [1, (x) => Math.max(0, 1 - Math.abs(x))],
  bicubic: [2, (x) => {
    const t = Math.abs(x);
    if (t < 1) return (1.5 * t - 2.5) * t * t + 1;
    return t < 2 ? ((-0.5 * t + 2.5) * t - 4) * t + 2 : 0;
  }],
};

/**
 * Return for each of `count` results the first number that it weighs, and the weights, as Pillow does.
 * @param {number} length how many numbers there are
 * @param {number} from @param {number} to the part of them that is resized
 */
function findWeights(length, from, to, count, filter) {
  const [reach, weigh] = FILTERS[filter];
  const scale = (to - from) / count, wide = Math.max(scale, 1);
  return Array.from({ length: count }, (_, place) => {
    const centre = from + (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach * wide + 0.5), 0);
    const end = Math.min(Math.trunc(centre + reach * wide + 0.5), length);
    const weights = [];
    for (let i = first; i < end; i++) weights.push(weigh((i - centre + 0.5) / wide));
    const sum = weights.reduce((one, other) => one + other, 0);
    return [first, weights.map((weight) => weight / sum)];
  });
}

/**
 * Resize numbers, `channels` of them for each pixel.
 * @param {{width: number, height: number, data: ArrayLike<number>}} picture
 * @param {Box} box the part that is resized, inside of the picture
 * @param {number} width @param {number} height of the result
 * @param {"box" | "bilinear" | "bicubic"} filter
 * @param {number} channels
 * @param {any} Numbers the class of the results: Uint8ClampedArray rounds, also between the two directions
 */
export function resample(picture, box, width, height, filter, channels, Numbers) {
  const across = findWeights(picture.width, box[0], box[2], width, filter);
  const down = findWeights(picture.height, box[1], box[3], height, filter);
  const top = down[0][0], last = down[height - 1], bottom = last[0] + last[1].length;
  const rows = new Numbers((bottom - top) * width * channels);
  for (let y = top, to = 0; y < bottom; y++) {
    for (const [first, weights] of across) {
      const start = (y * picture.width + first) * channels;
      for (let channel = 0; channel < channels; channel++, to++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * picture.data[start + i * channels + channel];
        rows[to] = sum;
      }
    }
  }
  const data = new Numbers(width * height * channels), line = width * channels;
  down.forEach(([first, weights], y) => {
    for (let x = 0; x < line; x++) {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * rows[(first - top + i) * line + x];
      data[y * line + x] = sum;
    }
  });
  return { width, height, data };
}

/** Return the index of the mirror image of a place beyond the ends of `length` places. */
function mirror(place, length) {
  const period = 2 * length, inside = ((place % period) + period) % period;
  return inside < length ? inside : period - 1 - inside;
}

/**
 * Return the part of a picture in a box, resized; beyond the border lies the picture's mirror image.
 * @param {Picture} picture @param {Box} box @param {number} width @param {number} height
 * @returns {Picture}
 */
export function cutOut(picture, box, width, height) {
  const left = Math.max(0, Math.ceil(-box[0])), top = Math.max(0, Math.ceil(-box[1]));
  const right = Math.max(0, Math.ceil(box[2] - picture.width)), bottom = Math.max(0, Math.ceil(box[3] - picture.height));
  let whole = picture;
  if (left + top + right + bottom > 0) {
    const wide = left + picture.width + right, high = top + picture.height + bottom;
    const from = new Uint32Array(picture.data.buffer, picture.data.byteOffset, picture.width * picture.height);
    const to = new Uint32Array(wide * high);
    const columns = Int32Array.from({ length: wide }, (_, x) => mirror(x - left, picture.width));
    for (let y = 0; y < high; y++) {
      const row = mirror(y - top, picture.height) * picture.width;
      for (let x = 0; x < wide; x++) to[y * wide + x] = from[row + columns[x]];
    }
    whole = { width: wide, height: high, data: new Uint8ClampedArray(to.buffer) };
  }
  const moved = [box[0] + left, box[1] + top, box[2] + left, box[3] + top];
  return resample(whole, moved, width, height, "bicubic", 4, Uint8ClampedArray);
}

/**
 * Return a picture in which each pixel is the mean of `factor` x `factor` pixels.
 * @param {Picture} picture @param {number} factor a whole number
 */
export function shrink(picture, factor) {
  if (factor === 1) return picture;
  const width = Math.ceil(picture.width / factor), height = Math.ceil(picture.height / factor);
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const right = Math.min((x + 1) * factor, picture.width), bottom = Math.min((y + 1) * factor, picture.height);
      let red = 0, green = 0, blue = 0;
      for (let v = y * factor; v < bottom; v++) {
        for (let u = x * factor, at = (v * picture.width + u) * 4; u < right; u++, at += 4) {
          red += picture.data[at];
          green += picture.data[at + 1];
          blue += picture.data[at + 2];
        }
      }
      const count = (right - x * factor) * (bottom - y * factor), to = (y * width + x) * 4;
      data[to] = Math.floor(red / count + 0.5);
      data[to + 1] = Math.floor(green / count + 0.5);
      data[to + 2] = Math.floor(blue / count + 0.5);
    }
  }
  return { width, height, data };
}

/**
 * Return whole pixels of a picture, those from (x0, y0) up to (x1, y1) that lie in it.
 * @param {Picture} picture
 * @returns {Picture | null} null where none is left
 */
export function cutPixels(picture, x0, y0, x1, y1) {
  const left = Math.max(x0, 0), top = Math.max(y0, 0);
  const width = Math.min(x1, picture.width) - left, height = Math.min(y1, picture.height) - top;
  if (width < 1 || height < 1) return null;
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * picture.width + left) * 4;
    data.set(picture.data.subarray(start, start + width * 4), y * width * 4);
  }
  return { width, height, data };
}

/**
 * Return red, green and blue as three planes of floats in [0, 1].
 * @param {Picture} picture
 */
export function toPlanes(picture) {
  const count = picture.width * picture.height, planes = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    for (let channel = 0; channel < 3; channel++) planes[channel * count + i] = picture.data[4 * i + channel] / 255;
  }
  return planes;
}

/**
 * Return a picture of three planes of floats in [0, 1].
 * @param {Float32Array} planes
 * @returns {Picture}
 */
export function toPicture(planes, width, height) {
  const count = width * height, data = new Uint8ClampedArray(4 * count).fill(255);
  for (let i = 0; i < count; i++) {
    for (let channel = 0; channel < 3; channel++) data[4 * i + channel] = planes[channel * count + i] * 255;
  }
  return { width, height, data };
}
