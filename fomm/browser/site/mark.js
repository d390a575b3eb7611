// The mark of origin: the visible word, and the invisible pattern that `fomm inspect` reads, see docs/marks.md.

import { resample } from "./pictures.js";

const WEAKEST = 1, STRONGEST = 8, MEAN = 2.3, LIMIT = 10; // levels of 255
const GAIN = 0.8, CELLS = 256 * 256, TILT = 0.3;
const FORMAT = 0xf1, BITS = 80, MEMORY = 14;
const GENERATORS = [0o46321, 0o51271, 0o63667, 0o70535, 0o73277, 0o76513];
const WORD = "synthetic";

/** Return a new random number, as eight hexadecimal digits. */
export function makeNumber() {
  return Array.from(crypto.getRandomValues(new Uint8Array(4)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Write the word "synthetic" into a corner of a canvas. */
export function writeWord(context) {
  const { width, height } = context.canvas, size = Math.max(11, Math.round(Math.min(width, height) / 22));
  context.font = `600 ${size}px sans-serif`;
  context.textAlign = "right";
  context.textBaseline = "bottom";
  context.lineWidth = Math.max(2, size / 6);
  context.lineJoin = "round";
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.fillStyle = "rgb(255 255 255 / 90%)";
  for (const draw of ["strokeText", "fillText"]) context[draw](WORD, width - size / 2, height - size / 3);
}

/** Marks the frames of one result: the first decides where the pattern is strong, and all get the same. */
export class Marker {
  /**
   * @param {object} constants
   * @param {string} number eight hexadecimal digits, see `makeNumber`
   */
  constructor(constants, number) {
    this.constants = constants;
    this.origin = constants.weights + number;
  }

  /**
   * Mark a frame, in place; all have the size of the first.
   * @param {import("./pictures.js").Picture} frame
   */
  mark(frame) {
    this.change ??= this.#place(frame);
    const { change } = this, { data } = frame;
    for (let i = 0, at = 0; i < change.length; i++, at += 4) {
      data[at] += change[i];
      data[at + 1] += change[i];
      data[at + 2] += change[i];
    }
  }

  #place({ width, height, data }) {
    const levels = new Float32Array(width * height);
    for (let i = 0; i < levels.length; i++) levels[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
    const cell = Math.max(1, Math.min(height, width) / this.constants.shorterSide);
    const strength = chooseStrength(levels, width, height, cell);
    const pattern = makePattern(this.constants, this.origin, width, height, cell);
    return Int8Array.from(pattern, (value, i) => Math.max(-LIMIT, Math.min(LIMIT, roundToEven(strength[i] * value))));
  }
}

function roundToEven(value) {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Return how strong the mark is at each pixel, in levels: detail hides it. */
function chooseStrength(levels, width, height, cell) {
  const wide = Math.max(1, roundToEven(width / cell)), high = Math.max(1, roundToEven(height / cell));
  const whole = [0, 0, width, height], from = { width, height, data: levels };
  const picture = resample(from, whole, wide, high, "box", 1, Float32Array).data;
  const blurred = blur(picture, wide, high, 3);
  const roots = picture.map((value, i) => Math.sqrt(Math.abs(value - blurred[i])));
  const detail = blur(roots, wide, high, 1.5).map((value) => 1.5 * value * value);
  const least = blur(leastAround(detail, wide, high), wide, high, 2);
  const enough = Math.min(1, (CELLS / picture.length) ** 0.2);
  let strength = least.map((value) => enough * Math.min(enough * WEAKEST + GAIN * value, STRONGEST));
  const mean = Math.sqrt(strength.reduce((sum, value) => sum + value * value, 0) / strength.length);
  strength = strength.map((value) => value * Math.min(1, (enough * MEAN) / mean));
  const small = { width: wide, height: high, data: strength };
  return resample(small, [0, 0, wide, high], width, height, "bilinear", 1, Float32Array).data;
}

/** Return the index of the mirror image of a place beyond the ends. */
function mirror(place, length) {
  const period = 2 * length, inside = ((place % period) + period) % period;
  return inside < length ? inside : period - 1 - inside;
}

/** Call `combine` for all places around each place, along the rows, then along the columns. */
function filter(plane, width, height, combine) {
  const along = (data, count, length, step, stride) => {
    const result = new Float32Array(data.length);
    for (let line = 0; line < count; line++) {
      for (let i = 0; i < length; i++) {
        result[line * stride + i * step] = combine((k) => data[line * stride + mirror(i + k, length) * step]);
      }
    }
    return result;
  };
  return along(along(plane, width, height, width, 1), height, width, 1, width);
}

function blur(plane, width, height, deviation) {
  const reach = Math.trunc(4 * deviation + 0.5), weights = [];
  for (let k = -reach; k <= reach; k++) weights.push(Math.exp(-0.5 * (k / deviation) ** 2));
  const sum = weights.reduce((one, other) => one + other, 0);
  return filter(plane, width, height, (at) => {
    let total = 0;
    for (let k = -reach; k <= reach; k++) total += weights[k + reach] * at(k);
    return total / sum;
  });
}

function leastAround(plane, width, height) {
  return filter(plane, width, height, (at) => Math.min(at(-2), at(-1), at(0), at(1), at(2)));
}

/** Return the pattern of waves that say where a picture comes from. */
function makePattern({ waves, tile }, origin, width, height, cell) {
  const { x, y, coded, signs } = waves, count = x.length, values = signs.slice(), bits = encode(origin);
  for (const row of coded) row.forEach((place, k) => { values[place] = signs[place] * (1 - 2 * bits[k]); });
  const strengths = x.map((_, k) => Math.hypot(x[k], y[k]) ** -TILT);
  const norm = Math.sqrt(strengths.reduce((sum, value) => sum + value * value, 0));
  const columns = Math.max(...x) + 1, real = new Float64Array(height * columns), imaginary = new Float64Array(height * columns);
  const angle = (pixel, waves) => (2 * Math.PI * (pixel + 0.5) * waves) / (cell * tile);
  for (let row = 0; row < height; row++) {
    for (let k = 0; k < count; k++) {
      const cos = Math.cos(angle(row, y[k])), sin = Math.sin(angle(row, y[k])), strength = strengths[k] / norm;
      const a = values[k] * strength, b = values[count + k] * strength, to = row * columns + x[k];
      real[to] += cos * a - sin * b;
      imaginary[to] += cos * b + sin * a;
    }
  }
  const cosines = new Float64Array(width * columns), sines = new Float64Array(width * columns);
  for (let column = 0; column < width; column++) {
    for (let wave = 0; wave < columns; wave++) {
      cosines[column * columns + wave] = Math.cos(angle(column, wave));
      sines[column * columns + wave] = Math.sin(angle(column, wave));
    }
  }
  const pattern = new Float32Array(width * height);
  for (let row = 0, to = 0; row < height; row++) {
    for (let column = 0; column < width; column++, to++) {
      let sum = 0;
      for (let wave = 0, i = row * columns, j = column * columns; wave < columns; wave++, i++, j++) {
        sum += real[i] * cosines[j] - imaginary[i] * sines[j];
      }
      pattern[to] = sum;
    }
  }
  return pattern;
}

/** Return the 480 coded bits of an origin: six digits of the weights' hash and eight of a number. */
function encode(origin) {
  const payload = [FORMAT];
  for (let k = 0; k < origin.length; k += 2) payload.push(parseInt(origin.slice(k, k + 2), 16));
  const check = crcOf(payload), bytes = [...payload, check >> 8, check & 255];
  const bits = bytes.flatMap((byte) => Array.from({ length: 8 }, (_, k) => (byte >> (7 - k)) & 1)), coded = [];
  for (let place = 0; place < BITS; place++) {
    let register = 0;
    for (let age = 0; age <= MEMORY; age++) register |= bits[(place - age + BITS) % BITS] << (MEMORY - age);
    for (const generator of GENERATORS) coded.push(parity(register & generator));
  }
  return coded;
}

function parity(word) {
  let bit = 0;
  for (; word; word >>= 1) bit ^= word & 1;
  return bit;
}

/** Return the CRC-CCITT of bytes. */
function crcOf(bytes) {
  let crc = 0xffff;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let k = 0; k < 8; k++) crc = crc & 0x8000 ? ((crc << 1) ^ 0x1021) & 0xffff : (crc << 1) & 0xffff;
  }
  return crc;
}
