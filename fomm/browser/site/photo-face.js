// The face in the photo: where its key points go when it moves as another face does.

import { fromVector, multiply, rotate, toVector, transpose, turnOf } from "./rotations.js";

/**
 * What moves the face beside the driver: how much of the driver's motion each part makes, and what is changed.
 * @typedef {object} Settings
 * @property {{pose: number, mouth: number, eyes: number, brows: number}} strength
 * @property {{yaw: number, pitch: number, roll: number, mouth: number, eyes: number, smile: number, brows: number}} edit
 */

/**
 * Key points: places in [-1, 1], 16 times x and y, and a 2x2 matrix of each.
 * @typedef {{value: Float32Array, jacobian: Float32Array}} Keypoints
 */

const FARTHEST = 0.3, LARGEST = 0.1; // how far a head may leave its place, and the logarithm of its growth
const MOST_TURN = [25, 30, 40].map((degrees) => (degrees * Math.PI) / 180);
const WIDEST = 1.3, UPPER_LID = 0.7, LIDS_GAIN = 1.3;
const FACE = 15; // key points on the face; one more is the neck
const LIPS = [6, 7], LIDS = [[0, 2], [1, 3]]; // labelled points: upper, lower
const EYE_POINTS = [0, 1, 2, 3], MOUTH_POINTS = [4, 5, 6, 7, 9], BROW_POINTS = [10, 11];
const JAW = [[7, 1], [9, 0.8], [4, 0.3], [5, 0.3]]; // how much of the lower lip's way each point goes
const ASKED_LIPS = [0, 0.05, 0.1, 0.16, 0.24, 0.34, 0.46, 0.6, 0.8];
const ASKED_TURNS = [[10, 0, 0], [-10, 0, 0], [0, 15, 0], [0, -15, 0]].map((turn) => turn.map((d) => (d * Math.PI) / 180));
const MOST_GAIN = 1.8, ENOUGH = 0.95, STEEPEST = 3;

/** Bound a number softly. */
const limit = (value, most) => most * Math.tanh(value / most);

/** The face of a photo, as the networks see it. */
export class PhotoFace {
  /**
   * @param {import("./motion.js").FaceMotion} rest the face at rest, in units of [-1, 1]
   * @param {Keypoints} detected what the networks find; of that the neck and the matrices are kept
   * @param {object} constants
   */
  constructor(rest, detected, constants) {
    this.rest = rest;
    this.constants = constants;
    this.gains = { lips: ASKED_LIPS, turn: [1, 1, 1] };
    const value = detected.value.slice();
    this.#place(rest).forEach(([x, y], k) => { value[2 * k] = x; value[2 * k + 1] = y; });
    this.keypoints = { value, jacobian: detected.jacobian };
  }

  #place({ rotation, shape, size, centre }) {
    return Array.from({ length: FACE }, (_, k) => {
      const [x, y] = rotate(rotation, shape.slice(3 * k, 3 * k + 3));
      return [x * size + centre[0], y * size + centre[1]];
    });
  }

  /**
   * Learn what has to be asked for, by painting the face with some openings and turns and measuring it.
   * @param {(keypoints: Keypoints) => Promise<import("./motion.js").FaceMotion>} look paints and measures
   * @param {(share: number) => void} tell
   */
  async calibrate(look, tell) {
    const { rest } = this, none = new Array(3 * FACE).fill(0), lips = [], turns = [];
    const total = ASKED_LIPS.length + ASKED_TURNS.length;
    for (let k = 0; k < total; k++) {
      const turn = k < ASKED_LIPS.length ? [0, 0, 0] : ASKED_TURNS[k - ASKED_LIPS.length];
      const gap = k < ASKED_LIPS.length ? ASKED_LIPS[k] : rest.lips;
      const seen = await look(this.#move(fromVector(turn), gap, rest.lids, none, [0, 0], 1));
      if (k < ASKED_LIPS.length) lips.push(seen.lips);
      else turns.push(toVector(multiply(seen.rotation, transpose(rest.rotation))));
      tell((k + 1) / total);
    }
    const turn = [1, 1, 1];
    for (const axis of [0, 1]) {
      const [one, other] = [turns[2 * axis][axis], turns[2 * axis + 1][axis]];
      const came = Math.abs(one - other) / (2 * Math.abs(ASKED_TURNS[2 * axis][axis]));
      turn[axis] = Math.min(Math.max(1 / Math.max(came, 1e-6), 1), MOST_GAIN);
    }
    this.gains = { lips, turn };
  }

  /**
   * Return where the key points go.
   * @param {import("./motion.js").FaceMotion} driver
   * @param {import("./motion.js").FaceMotion} reference the driver's face where the photo is at rest
   * @param {Settings} settings
   */
  move(driver, reference, { strength, edit }) {
    const { rest, gains } = this, { expression, wideOpen, smile, brows } = this.constants;
    const turns = toVector(multiply(driver.rotation, transpose(reference.rotation))).map((value) => value * strength.pose);
    const wanted = toVector(multiply(turnOf(edit), fromVector(turns)));
    const turned = fromVector(wanted.map((value, axis) => limit(value * gains.turn[axis], MOST_TURN[axis])));

    const away = driver.centre.map((value, k) => ((value - reference.centre[k]) / reference.size) * strength.pose);
    const far = Math.max(Math.hypot(...away), 1e-9), share = (limit(far, FARTHEST) / far) * rest.size;
    const growth = Math.exp(limit(Math.log(driver.size / reference.size) * strength.pose, LARGEST));

    const gap = rest.lips + strength.mouth * (driver.lips - rest.lips) + edit.mouth * wideOpen;
    // a mouth that nobody moves stays exactly as it is in the photo
    const lips = ask(gap, gains.lips) + (1 - Math.min(strength.mouth, 1)) * (rest.lips - ask(rest.lips, gains.lips));
    const lids = rest.lids.map((own, eye) => {
      const open = 1 + LIDS_GAIN * strength.eyes * (driver.lids[eye] / Math.max(reference.lids[eye], 1e-6) - 1);
      return Math.min(Math.max(open * edit.eyes, 0), WIDEST) * own;
    });
    const shares = new Array(FACE).fill(strength.pose);
    for (const point of EYE_POINTS) shares[point] = strength.eyes;
    for (const point of MOUTH_POINTS) shares[point] = strength.mouth;
    for (const point of BROW_POINTS) shares[point] = strength.brows;
    const change = driver.shape.map((value, i) => {
      const point = Math.floor(i / 3), axis = i % 3;
      const own = (value - reference.shape[i]) * shares[point] * expression;
      return (own + edit.smile * smile[point][axis] + edit.brows * brows[point][axis]) * rest.size;
    });
    return this.#move(turned, lips, lids, change, away.map((value) => value * share), growth);
  }

  /** Return the key points of a face turned, opened, changed, moved and grown. */
  #move(turned, lips, lids, change, away, growth) {
    const { rest } = this, rotation = multiply(turned, rest.rotation);
    const place = (added) => Array.from({ length: FACE }, (_, k) => {
      const point = [0, 1, 2].map((axis) => rest.shape[3 * k + axis] * rest.size + (added ? change[3 * k + axis] : 0));
      const seen = rotate(rotation, point);
      return [0, 1].map((axis) => seen[axis] * growth + rest.centre[axis] + away[axis]);
    });
    const solid = place(false), value = place(true), atRest = this.#place(rest);
    const vector = (points, [upper, lower]) => [0, 1].map((axis) => points[lower][axis] - points[upper][axis]);
    const apart = (pair) => Math.hypot(...vector(atRest, pair));
    /** What the vector between two points lacks to be the solid head's, made so long. */
    const missing = (pair, length) => {
      const ratio = Math.max(length, 0) / Math.max(apart(pair), 1e-6), now = vector(value, pair);
      return vector(solid, pair).map((wanted, axis) => wanted * ratio - now[axis]);
    };
    const opened = missing(LIPS, apart(LIPS) + (lips - rest.lips) * rest.size);
    for (const [point, share] of JAW) value[point] = value[point].map((place, axis) => place + share * opened[axis]);
    LIDS.forEach((pair, eye) => {
      const lacking = missing(pair, apart(pair) + (lids[eye] - rest.lids[eye]) * rest.size), [upper, lower] = pair;
      value[upper] = value[upper].map((place, axis) => place - UPPER_LID * lacking[axis]);
      value[lower] = value[lower].map((place, axis) => place + (1 - UPPER_LID) * lacking[axis]);
    });
    const points = this.keypoints.value.slice(), jacobian = this.keypoints.jacobian.slice();
    const [a, b, c, d] = [turned[0], turned[1], turned[3], turned[4]].map((entry) => entry * growth);
    value.forEach(([x, y], k) => {
      points[2 * k] = x;
      points[2 * k + 1] = y;
      const [p, q, r, s] = jacobian.subarray(4 * k, 4 * k + 4);
      jacobian.set([a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s], 4 * k);
    });
    return { value: points, jacobian };
  }
}

/** Return what to ask for to get a wanted opening, given what was painted for `ASKED_LIPS`. */
function ask(wanted, painted) {
  const most = Math.max(...painted), end = painted.findIndex((value) => value >= ENOUGH * most) + 1;
  const curve = [painted[0]];
  let highest = painted[0];
  for (let k = 1; k < end; k++) {
    const before = highest;
    highest = Math.max(highest, painted[k]);
    curve.push(curve[k - 1] + Math.max(highest - before, (ASKED_LIPS[k] - ASKED_LIPS[k - 1]) / STEEPEST));
  }
  if (wanted <= curve[0]) return ASKED_LIPS[0];
  for (let k = 1; k < end; k++) {
    if (wanted > curve[k]) continue;
    return ASKED_LIPS[k - 1] + ((wanted - curve[k - 1]) / (curve[k] - curve[k - 1])) * (ASKED_LIPS[k] - ASKED_LIPS[k - 1]);
  }
  return ASKED_LIPS[end - 1];
}

/** Return key points between two, at a share in [0, 1]. */
export function blend(one, other, share) {
  const mix = (from, to) => from.map((value, k) => value + share * (to[k] - value));
  return { value: mix(one.value, other.value), jacobian: mix(one.jacobian, other.jacobian) };
}
