// Who drives: the face in a clip, looked at twice from end to end, or the face before a camera, seen just now.

import { area, headBox, overlap } from "./boxes.js";
import { moveFace } from "./faces.js";
import { chooseReference, fillFrames, headSize, measureMotion, MotionFilter, smoothMotion } from "./motion.js";
import { cutPixels } from "./pictures.js";

export const EVERY = 3; // a face is looked for in every so many frames of a clip
const FEW = 0.1; // share of the frames that show a face: a clip with fewer is refused
const MUCH_SMALLER = 4; // a face with less than such a part of the driver's area is not the driver's
const GAP = 0.5, EASE = 0.5; // seconds for which a missing face is no gap; from full motion to rest
const NEAR = 3; // side of the part in which the next face is looked for, over the last one's box
const BOX_SIDE = 4.6, BOX_HEIGHT = 0.88, FACE_POINTS = [33, 263, 1, 13, 127, 356];
const WIDER = 1, NARROWER = 10; // seconds in which what is usual comes nearer to wider and narrower lids

/** Go smoothly from 0 to 1 while `time` does. */
function rise(time) {
  const t = Math.min(Math.max(time, 0), 1);
  return t * t * (3 - 2 * t);
}

/** The driver of a clip: `look` at every third frame, `measure` every frame, then ask for the motion. */
export class ClipDriver {
  #found = [];
  #known = new Map();
  #places = [];

  /** @param {import("./faces.js").FaceFinder} finder */
  constructor(finder, constants, fps) {
    [this.finder, this.constants, this.fps] = [finder, constants, fps];
  }

  /** Look for faces in a frame; the numbers ascend. */
  async look(picture, number) {
    this.#found.push([number, await this.finder.find(picture, true)]);
  }

  /** Choose the driver's face, after the last `look`. */
  chooseFace(count) {
    const faces = driverFaces(this.#found), numbers = [...faces.keys()];
    if (numbers.length < Math.max(FEW * this.#found.length, 1)) {
      throw new Error("Hardly any face was found in the clip. Give a clip of one face that is seen well.");
    }
    const begins = [0, ...numbers.map((number) => number + EVERY)], ends = [...numbers, count];
    this.gaps = begins.map((begin, k) => [begin, ends[k]]).filter(
      ([begin, end]) => end > begin && end - begin >= GAP * this.fps,
    );
    this.count = count;
    const rows = numbers.map((number) => [...faces.get(number).box, ...faces.get(number).points.flat()]);
    for (let frame = 0, next = 0; frame < count; frame++) {
      while (next < numbers.length - 1 && numbers[next] < frame) next++;
      const before = Math.max(next - 1, 0), span = numbers[next] - numbers[before];
      const share = span ? Math.min(Math.max((frame - numbers[before]) / span, 0), 1) : 0;
      const row = rows[before].map((value, k) => value + share * (rows[next][k] - value));
      this.#places.push({
        box: row.slice(0, 4), score: 1, points: Array.from({ length: 6 }, (_, k) => row.slice(4 + 2 * k, 6 + 2 * k)),
      });
    }
  }

  #isSeen(number) {
    return !this.gaps.some(([begin, end]) => begin <= number && number < end);
  }

  /** Measure the face in a frame; all frames in a row. */
  async measure(picture, number) {
    if (!this.#isSeen(number)) return;
    const mesh = await this.finder.mesh(picture, this.#places[number]);
    if (mesh.presence >= 0.5) this.#known.set(number, measureMotion(mesh.points, this.constants));
  }

  /** Return the motion in all frames and where it starts, for a photo's face at rest. */
  finish(rest) {
    if (!this.#known.size) throw new Error("No face was seen closely in the clip. Give a clip of one face.");
    let motion = fillFrames(this.#known, this.count);
    for (const [begin, end] of this.gaps) {
      const held = motion[begin ? begin - 1 : Math.min(end, this.count - 1)];
      for (let frame = begin; frame < end; frame++) motion[frame] = held;
    }
    motion = smoothMotion(motion, this.fps);
    const seen = motion.map((_, number) => number).filter((number) => this.#isSeen(number));
    return { motion, reference: chooseReference(motion, rest, seen) };
  }

  /** Return how far the photo follows in a frame: 1 as ever, 0 at rest. */
  strength(number) {
    return Math.min(1, ...this.gaps.map(([begin, end]) => {
      if (number < begin) return 1;
      const rest = begin === 0 ? 0 : 1 - rise((Math.min(number, end) - begin) / (EASE * this.fps));
      return number < end ? rest : rest + (1 - rest) * rise((number - end) / (EASE * this.fps));
    }));
  }
}

/** Return the faces of the person who drives, by number of frame: those that fill most, and where they return. */
function driverFaces(found) {
  const tracks = followFaces(found), chosen = new Map(largest(tracks));
  const usual = (track) => {
    const areas = [...track.values()].map((face) => area(headBox(face))).sort((one, other) => one - other);
    return (areas[(areas.length - 1) >> 1] + areas[areas.length >> 1]) / 2;
  };
  while (chosen.size) {
    const size = usual(chosen), others = tracks.filter((track) => {
      return ![...track.keys()].some((number) => chosen.has(number)) && usual(track) > size / MUCH_SMALLER;
    });
    if (!others.length) break;
    for (const [number, face] of largest(others)) chosen.set(number, face);
  }
  return new Map([...chosen].sort(([one], [other]) => one - other));
}

/** Return each person's faces: those of frames in a row that overlap most. */
function followFaces(found) {
  const tracks = [];
  for (const [number, faces] of found) {
    const boxes = faces.map(headBox), left = new Set(boxes.keys()), pairs = [];
    for (const track of tracks) {
      const last = headBox([...track.values()].at(-1));
      boxes.forEach((box, k) => pairs.push([overlap(last, box), track, k]));
    }
    pairs.sort(([one], [other]) => other - one);
    for (const [shared, track, k] of pairs) {
      if (shared > 0 && left.has(k) && !track.has(number)) {
        track.set(number, faces[k]);
        left.delete(k);
      }
    }
    for (const k of left) tracks.push(new Map([[number, faces[k]]]));
  }
  return tracks;
}

function largest(tracks) {
  const sum = (track) => [...track.values()].reduce((total, face) => total + area(headBox(face)), 0);
  return tracks.reduce((best, track) => (sum(track) > sum(best) ? track : best), new Map());
}

/** The driver before a camera: followed from frame to frame; the motion starts where it is first seen. */
export class LiveDriver {
  #filter = new MotionFilter();
  #place = null;
  #area = 0;
  #seen = -Infinity;
  #first = null;
  #usualLids = null;

  /** @param {import("./faces.js").FaceFinder} finder */
  constructor(finder, constants) {
    [this.finder, this.constants] = [finder, constants];
  }

  /**
   * Return the face's motion and where it started; null while no face is seen.
   * @param {import("./pictures.js").Picture} picture
   * @param {number} time seconds
   */
  async follow(picture, time) {
    const points = await this.#findMesh(picture, time);
    if (!points) {
      this.#place = null;
      return null;
    }
    const motion = this.#filter.next(measureMotion(points, this.constants), time);
    this.#first ??= motion;
    this.#usualLids ??= motion.lids;
    const passed = Math.max(time - this.#seen, 0);
    this.#usualLids = this.#usualLids.map((usual, eye) => {
      const change = motion.lids[eye] - usual, seconds = change > 0 ? WIDER : NARROWER;
      return usual + (Number.isFinite(passed) ? 1 - Math.exp(-passed / seconds) : 1) * change;
    });
    const lids = this.#first.lids.map((lid, eye) => Math.max(lid, this.#usualLids[eye]));
    this.#place = placeOf(points, this.constants);
    [this.#area, this.#seen] = [area(headBox(this.#place)), time];
    return { motion, reference: { ...this.#first, lids } };
  }

  async #findMesh(picture, time) {
    if (this.#place) {
      const mesh = await this.finder.mesh(picture, await this.#detectNear(picture, this.#place));
      if (mesh.presence >= 0.5) return mesh.points;
    }
    const least = time - this.#seen < GAP + EASE ? this.#area / MUCH_SMALLER : 0;
    const found = (await this.finder.find(picture, true)).map((face) => [area(headBox(face)), face]);
    for (const [size, face] of found.sort(([one], [other]) => other - one)) {
      if (size < least) break;
      const mesh = await this.finder.mesh(picture, face);
      if (mesh.presence >= 0.5) return mesh.points;
    }
    return null;
  }

  async #detectNear(picture, place) {
    const [x0, y0, x1, y1] = place.box, x = (x0 + x1) / 2, y = (y0 + y1) / 2, half = (NEAR * (x1 - x0)) / 2;
    const edges = [x - half, y - half, x + half, y + half].map((value) => Math.max(Math.round(value), 0));
    const part = cutPixels(picture, ...edges);
    const found = part ? (await this.finder.detect(part)).map((face) => moveFace(face, edges[0], edges[1])) : [];
    const distance = ({ box }) => Math.hypot((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y);
    return found.reduce((best, face) => (best && distance(best) <= distance(face) ? best : face), null) ?? place;
  }
}

/** Return the face that a mesh lies on, with a box such as the detector's. */
function placeOf(points, constants) {
  let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 3) {
    [x0, x1] = [Math.min(x0, points[i]), Math.max(x1, points[i])];
    [y0, y1] = [Math.min(y0, points[i + 1]), Math.max(y1, points[i + 1])];
  }
  const x = (x0 + x1) / 2, y = y1 - (BOX_HEIGHT * (y1 - y0)) / 2, half = (BOX_SIDE * headSize(points, constants)) / 2;
  return {
    box: [x - half, y - half, x + half, y + half], score: 1,
    points: FACE_POINTS.map((number) => [points[3 * number], points[3 * number + 1]]),
  };
}
