// How a face moves, told by its mesh and without whose face it is.

import { fitRotation, multiply, nearestRotation, rotate, toVector, transpose } from "./rotations.js";

/**
 * A face in one frame.
 * @typedef {object} FaceMotion
 * @property {number[]} rotation 9 numbers, from a face that looks into the camera to this one
 * @property {number[]} centre x and y of the point that the head turns about
 * @property {number} size of the head
 * @property {number[]} shape 45 numbers: 15 labelled points from the centre, turned back, in units of the size
 * @property {number} lips gap between the inner lips, in units of the size
 * @property {number[]} lids gaps of the person's left eye and right eye
 */

const PIVOT = [0, 0.4, 1.6]; // from the middle of the still points into the head, in units of its size
const INNER_LIPS = [[13, 14], [81, 178], [311, 402]];
const RIGHT_LIDS = [[159, 145], [158, 153], [160, 144]], LEFT_LIDS = [[386, 374], [385, 380], [387, 373]];
const USUAL_LIDS = 0.75; // quantile of the gaps between lids
const FAR = 15; // degrees by which another frame has to be nearer to the photo's pose than the first
// Seconds over which trembling is taken out, and how far the values tremble.
const POSE_SECONDS = 0.04, SIZE_SECONDS = 0.15, SHAPE_SECONDS = 0.03;
const TURN_NOISE = 0.02, PLACE_NOISE = 0.04, SHAPE_NOISE = 0.04;

function pointOf(points, number) {
  return [points[3 * number], points[3 * number + 1], points[3 * number + 2]];
}

/** Return the mean distance of pairs of points. */
function distance(points, pairs) {
  let sum = 0;
  for (const [one, other] of pairs) {
    const a = pointOf(points, one), b = pointOf(points, other);
    sum += Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
  }
  return sum / pairs.length;
}

/** Return the size of a head: how far its still points lie from their middle. */
export function headSize(points, { stillPoints }) {
  const still = stillPoints.map((number) => pointOf(points, number)), middle = meanOf(still);
  return Math.sqrt(meanOf(still.map((p) => [p.reduce((sum, value, k) => sum + (value - middle[k]) ** 2, 0)]))[0]);
}

function meanOf(rows) {
  return rows[0].map((_, k) => rows.reduce((sum, row) => sum + row[k], 0) / rows.length);
}

/**
 * Return how a face is, from its mesh.
 * @param {ArrayLike<number>} points 478 times x, y, z
 * @param {object} constants
 * @returns {FaceMotion}
 */
export function measureMotion(points, constants) {
  const { stillPoints, faceAtRest, labelledPoints } = constants;
  const still = stillPoints.map((number) => pointOf(points, number)), middle = meanOf(still);
  const restMiddle = meanOf(faceAtRest), sums = new Array(9).fill(0);
  still.forEach((point, n) => {
    for (let i = 0; i < 3; i++) {
      for (let j = 0; j < 3; j++) sums[3 * i + j] += (faceAtRest[n][i] - restMiddle[i]) * (point[j] - middle[j]);
    }
  });
  const size = headSize(points, constants), rotation = fitRotation(sums), back = transpose(rotation);
  const inward = rotate(rotation, PIVOT), centre = middle.map((value, k) => value + inward[k] * size);
  const shape = labelledPoints.flatMap((number) => {
    const point = pointOf(points, number);
    return rotate(back, point.map((value, k) => value - centre[k])).map((value) => value / size);
  });
  return {
    rotation,
    centre: centre.slice(0, 2),
    size,
    shape,
    lips: distance(points, INNER_LIPS) / size,
    lids: [distance(points, LEFT_LIDS) / size, distance(points, RIGHT_LIDS) / size],
  };
}

const KEYS = ["rotation", "centre", "size", "shape", "lips", "lids"];

/** Return all numbers of a motion in one of its keys, as an array. */
function numbersOf(motion, key) {
  return Array.isArray(motion[key]) ? motion[key] : [motion[key]];
}

function withNumbers(motion, key, numbers) {
  return { ...motion, [key]: Array.isArray(motion[key]) ? numbers : numbers[0] };
}

/** Return a motion between two, at a share in [0, 1]. */
function between(one, other, share) {
  let result = one;
  for (const key of KEYS) {
    const end = numbersOf(other, key);
    result = withNumbers(result, key, numbersOf(one, key).map((value, k) => value + share * (end[k] - value)));
  }
  return { ...result, rotation: nearestRotation(result.rotation) };
}

/**
 * Return the motion in all frames of one that is known in some: even in between, still before and behind.
 * @param {Map<number, FaceMotion>} known by number of frame, ascending
 * @param {number} count
 */
export function fillFrames(known, count) {
  const numbers = [...known.keys()], filled = [];
  for (let frame = 0, next = 0; frame < count; frame++) {
    while (next < numbers.length && numbers[next] < frame) next++;
    const after = numbers[Math.min(next, numbers.length - 1)], before = numbers[Math.max(next - 1, 0)];
    if (after === frame || next === 0 || next === numbers.length) filled.push(known.get(after));
    else filled.push(between(known.get(before), known.get(after), (frame - before) / (after - before)));
  }
  return filled;
}

/**
 * Return a motion without its trembling: each number becomes a mean of those near in time and value.
 * @param {FaceMotion[]} motion
 * @param {number} fps frames a second
 */
export function smoothMotion(motion, fps) {
  const size = median(motion.map((frame) => frame.size));
  const how = {
    rotation: [POSE_SECONDS, TURN_NOISE], centre: [POSE_SECONDS, PLACE_NOISE * size],
    size: [SIZE_SECONDS, PLACE_NOISE * size], shape: [SHAPE_SECONDS, SHAPE_NOISE],
    lips: [SHAPE_SECONDS, SHAPE_NOISE], lids: [SHAPE_SECONDS, SHAPE_NOISE],
  };
  let smooth = motion;
  for (const key of KEYS) {
    const [seconds, noise] = how[key], rows = motion.map((frame) => numbersOf(frame, key));
    const deviation = Math.max(seconds * fps, 1e-3), reach = Math.min(Math.ceil(3 * deviation), rows.length - 1);
    smooth = smooth.map((frame, t) => {
      const sums = new Array(rows[t].length).fill(0);
      let total = 0;
      for (let step = -reach; step <= reach; step++) {
        const near = rows[Math.min(Math.max(t + step, 0), rows.length - 1)];
        const far = meanOf(near.map((value, k) => [(value - rows[t][k]) ** 2]))[0] / noise ** 2;
        const weight = Math.exp(-0.5 * ((step / deviation) ** 2 + far));
        total += weight;
        near.forEach((value, k) => { sums[k] += weight * value; });
      }
      return withNumbers(frame, key, sums.map((sum) => sum / total));
    });
  }
  return smooth.map((frame) => ({ ...frame, rotation: nearestRotation(frame.rotation) }));
}

function median(values) {
  return quantile(values, 0.5);
}

/** Return a quantile of values, linear between the two nearest. */
export function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other), place = share * (sorted.length - 1);
  const low = Math.floor(place), high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

/**
 * Return the frame in which the photo is at rest, its lids as open as they usually are: the first that shows
 * the face, or where that is turned far from the photo, the one most like the photo.
 * @param {FaceMotion[]} motion
 * @param {FaceMotion} wanted the photo's face
 * @param {number[]} seen numbers of the frames that show the face
 */
export function chooseReference(motion, wanted, seen) {
  const angles = seen.map((number) => {
    return Math.hypot(...toVector(multiply(motion[number].rotation, transpose(wanted.rotation))));
  });
  const costs = seen.map((number, k) => {
    let sum = 0;
    motion[number].shape.forEach((value, i) => { sum += (value - wanted.shape[i]) ** 2; });
    return angles[k] + Math.sqrt(sum / 15);
  });
  const best = costs.indexOf(Math.min(...costs));
  const chosen = ((angles[0] - angles[best]) * 180) / Math.PI < FAR ? seen[0] : seen[best];
  const lids = [0, 1].map((eye) => quantile(seen.map((number) => motion[number].lids[eye]), USUAL_LIDS));
  return { ...motion[chosen], lids };
}

/** A low-pass filter whose cutoff rises with speed: steady at rest, hardly late in motion (Casiez et al., 2012). */
class OneEuroFilter {
  constructor(cutoff, beta, groups = 1) {
    [this.cutoff, this.beta, this.groups] = [cutoff, beta, groups];
  }

  /** Filter numbers of a moment in seconds; each of the groups has a speed of its own. */
  next(values, time) {
    if (!this.last) {
      this.last = { time, values, speeds: values.map(() => 0) };
      return values;
    }
    const step = Math.max(time - this.last.time, 1e-3), share = (cutoff) => 1 / (1 + 1 / (2 * Math.PI * cutoff * step));
    const before = this.last.values;
    const speeds = this.last.speeds.map((speed, k) => speed + share(3) * ((values[k] - before[k]) / step - speed));
    const length = values.length / this.groups;
    const filtered = values.map((value, k) => {
      const start = Math.floor(k / length) * length;
      const speed = Math.hypot(...speeds.slice(start, start + length));
      return before[k] + share(this.cutoff + this.beta * speed) * (value - before[k]);
    });
    this.last = { time, values: filtered, speeds };
    return filtered;
  }
}

/** Filters for all that moves in a face that is followed live. */
export class MotionFilter {
  #filters = {
    rotation: new OneEuroFilter(1.5, 8), centre: new OneEuroFilter(1.5, 8), size: new OneEuroFilter(1, 3),
    shape: new OneEuroFilter(2, 12, 15), lips: new OneEuroFilter(2, 12), lids: new OneEuroFilter(2, 12, 2),
  };
  #unit = 0;

  /** Return the motion of a moment in seconds, without its trembling. */
  next(motion, time) {
    this.#unit ||= motion.size;
    let result = motion;
    for (const key of KEYS) {
      const unit = key === "centre" || key === "size" ? this.#unit : 1;
      const numbers = numbersOf(motion, key).map((value) => value / unit);
      result = withNumbers(result, key, this.#filters[key].next(numbers, time).map((value) => value * unit));
    }
    return { ...result, rotation: nearestRotation(result.rotation) };
  }
}
