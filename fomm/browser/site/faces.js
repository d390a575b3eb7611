// Faces in a picture: the detector, the mesh of 478 points, and the search for small faces in tiles.

import { area, intersection, overlap } from "./boxes.js";
import { cutPixels, shrink } from "./pictures.js";

/**
 * A face: its box, the detector's score, and six points: the eyes at the left and right of the picture, nose,
 * mouth, and the ears.
 * @typedef {{box: number[], score: number, points: number[][]}} Face
 */

const DETECTOR = 128, MESH = 192; // sides of the networks' pictures
const SAME = 0.3, INSIDE = 0.6; // of two answers for one face
const MARGIN = 1.5; // side of the mesh's picture over that of the box
const SURE = 0.85, SURE_CLOSELY = 0.65; // scores
const LEAST_SIDE = 16; // pixels of a tile

/** Finds faces and their meshes. */
export class FaceFinder {
  /** @param {import("./networks.js").Networks} networks */
  constructor(networks) {
    this.networks = networks;
  }

  /**
   * Return the faces of a picture, the best score first.
   * @param {import("./pictures.js").Picture} picture
   * @returns {Promise<Face[]>}
   */
  async detect(picture, minScore = 0.5) {
    const image = letterbox(picture);
    const answered = await this.networks.run("detector", { image: [image, [1, 3, DETECTOR, DETECTOR]] });
    const [[scores], [places]] = [answered.scores, answered.places];
    const side = Math.max(picture.width, picture.height);
    const shift = [Math.floor((side - picture.width) / 2), Math.floor((side - picture.height) / 2)];
    const answers = [];
    for (let i = 0; i < scores.length; i++) {
      const score = 1 / (1 + Math.exp(-Math.max(-100, Math.min(100, scores[i]))));
      if (score < minScore) continue;
      const anchor = anchorOf(i), values = Array.from(places.subarray(16 * i, 16 * i + 16), (value) => value / DETECTOR);
      const [x, y, width, height] = [values[0] + anchor[0], values[1] + anchor[1], values[2], values[3]];
      const row = [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
      for (let k = 4; k < 16; k += 2) row.push(values[k] + anchor[0], values[k + 1] + anchor[1]);
      answers.push({ score, row });
    }
    answers.sort((one, other) => other.score - one.score);
    return mergeAnswers(answers).map(({ score, row }) => {
      const pixels = row.map((value, k) => value * side - shift[k % 2]);
      const points = [];
      for (let k = 4; k < 16; k += 2) points.push([pixels[k], pixels[k + 1]]);
      return { box: pixels.slice(0, 4), score, points };
    });
  }

  /**
   * Return all faces of a picture, also small ones; a long picture is searched in tiles, too.
   * @param {import("./pictures.js").Picture} picture
   * @param {boolean} confirm drop faces that do not bear a second look
   * @returns {Promise<Face[]>}
   */
  async find(picture, confirm) {
    const factor = Math.max(1, Math.floor(Math.min(picture.width, picture.height) / 256));
    const small = shrink(picture, factor), scale = picture.height / small.height;
    const side = Math.min(small.width, small.height);
    let faces = await this.detect(small);
    for (const [x, y] of tileCorners(small)) {
      const found = await this.detect(cutPixels(small, x, y, x + side, y + side));
      faces.push(...found.filter(({ box }) => !isCut(box, x, y, side, small)).map((face) => moveFace(face, x, y)));
    }
    faces = keepBest(faces);
    if (confirm) faces = await this.keepConfirmed(small, faces);
    return faces.map(({ box, score, points }) => ({
      box: box.map((value) => value * scale),
      score,
      points: points.map((point) => point.map((value) => value * scale)),
    }));
  }

  /** Return the faces that the detector is sure of, or that mesh and detector see at a second look. */
  async keepConfirmed(picture, faces) {
    const kept = [];
    for (const face of faces) {
      if (face.score >= SURE) {
        kept.push(face);
        continue;
      }
      const crop = cropAround(face);
      const upright = sampleCrop(picture, { ...crop, side: (crop.side * 2) / MARGIN }, DETECTOR);
      const data = new Uint8ClampedArray(4 * DETECTOR * DETECTOR).fill(255), count = DETECTOR * DETECTOR;
      for (let i = 0; i < count; i++) for (let c = 0; c < 3; c++) data[4 * i + c] = upright[c * count + i] * 255;
      const again = await this.detect({ width: DETECTOR, height: DETECTOR, data }, SURE_CLOSELY);
      if (again.length && (await this.mesh(picture, face)).presence >= 0.5) kept.push(face);
    }
    return kept;
  }

  /**
   * Find the 478 points of a face.
   * @returns {Promise<{points: Float64Array, presence: number}>} x, y and z of each, in pixels
   */
  async mesh(picture, face) {
    const crop = cropAround(face), image = sampleCrop(picture, crop, MESH);
    const answered = await this.networks.run("mesh", { image: [image, [1, 3, MESH, MESH]] });
    const [[points], [presence]] = [answered.points, answered.presence];
    const moved = new Float64Array(points.length), scale = crop.side / MESH;
    const cos = Math.cos(crop.angle), sin = Math.sin(crop.angle);
    for (let i = 0; i < points.length; i += 3) {
      const x = points[i] * scale - crop.side / 2, y = points[i + 1] * scale - crop.side / 2;
      moved[i] = Math.fround(x * cos - y * sin + crop.x);
      moved[i + 1] = Math.fround(x * sin + y * cos + crop.y);
      moved[i + 2] = Math.fround(points[i + 2] * scale);
    }
    return { points: moved, presence: 1 / (1 + Math.exp(-presence[0])) };
  }
}

/** Return the face, moved by x and y. */
export function moveFace({ box, score, points }, x, y) {
  return {
    box: [box[0] + x, box[1] + y, box[2] + x, box[3] + y],
    score,
    points: points.map((point) => [point[0] + x, point[1] + y]),
  };
}

/** Return the centre of an anchor, in shares of the picture: two on each of 16x16 cells, six on each of 8x8. */
function anchorOf(index) {
  const [cells, cell] = index < 512 ? [16, index >> 1] : [8, Math.floor((index - 512) / 6)];
  return [((cell % cells) + 0.5) / cells, (Math.floor(cell / cells) + 0.5) / cells];
}

/** Merge answers for one face to their mean, weighed by their scores. */
function mergeAnswers(answers) {
  const merged = [];
  while (answers.length) {
    const first = answers[0].row.slice(0, 4);
    const same = answers.filter(({ row }, k) => k === 0 || overlap(first, row.slice(0, 4)) > SAME);
    const total = same.reduce((sum, { score }) => sum + score, 0);
    const row = first.concat(answers[0].row.slice(4)).map(
      (_, k) => same.reduce((sum, answer) => sum + answer.score * answer.row[k], 0) / total,
    );
    merged.push({ score: answers[0].score, row });
    answers = answers.filter((answer) => !same.includes(answer));
  }
  return merged;
}

/** Return the whole picture in the middle of a black square as the detector sees it: planes in [-1, 1]. */
function letterbox({ width, height, data }) {
  const side = Math.max(width, height), left = Math.floor((side - width) / 2), top = Math.floor((side - height) / 2);
  const planes = new Float32Array(3 * DETECTOR * DETECTOR), step = side / DETECTOR;
  for (let v = 0; v < DETECTOR; v++) {
    for (let u = 0; u < DETECTOR; u++) {
      const x = u * step - left, y = v * step - top, x0 = Math.floor(x), y0 = Math.floor(y);
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let k = 0; k < 4; k++) {
          const px = x0 + (k & 1), py = y0 + (k >> 1);
          if (px < 0 || py < 0 || px >= width || py >= height) continue;
          sum += (1 - Math.abs(x - px)) * (1 - Math.abs(y - py)) * data[(py * width + px) * 4 + c];
        }
        planes[(c * DETECTOR + v) * DETECTOR + u] = sum / 127.5 - 1;
      }
    }
  }
  return planes;
}

/** Return the square around a face, turned so that the eyes are level. */
function cropAround({ box: [x0, y0, x1, y1], points: [left, right] }) {
  return {
    x: (x0 + x1) / 2,
    y: (y0 + y1) / 2,
    side: Math.max(x1 - x0, y1 - y0, 1) * MARGIN,
    angle: Math.atan2(right[1] - left[1], right[0] - left[0]),
  };
}

/** Return a turned square of a picture as planes in [0, 1]; beyond the border lies the border's colour. */
function sampleCrop({ width, height, data }, crop, size) {
  const fine = Math.min(Math.max(Math.floor(crop.side / size), 1), 8), count = size * fine;
  const cos = Math.cos(crop.angle) * crop.side, sin = Math.sin(crop.angle) * crop.side;
  const planes = new Float32Array(3 * size * size), share = 1 / (255 * fine * fine);
  for (let v = 0; v < count; v++) {
    for (let u = 0; u < count; u++) {
      const across = (u + 0.5) / count - 0.5, down = (v + 0.5) / count - 0.5;
      const x = Math.min(Math.max(crop.x + cos * across - sin * down - 0.5, 0), width - 1);
      const y = Math.min(Math.max(crop.y + sin * across + cos * down - 0.5, 0), height - 1);
      const x0 = Math.floor(x), y0 = Math.floor(y), right = x0 + 1 < width ? 4 : 0, below = y0 + 1 < height ? 4 * width : 0;
      const a = x - x0, b = y - y0, at = (y0 * width + x0) * 4;
      const to = Math.floor(v / fine) * size + Math.floor(u / fine);
      for (let c = 0; c < 3; c++) {
        const upper = data[at + c] * (1 - a) + data[at + right + c] * a;
        const lower = data[at + below + c] * (1 - a) + data[at + below + right + c] * a;
        planes[c * size * size + to] += (upper * (1 - b) + lower * b) * share;
      }
    }
  }
  return planes;
}

/** Return the corners of square tiles that cover a picture: none, if it is nearly square itself, or a line. */
function tileCorners({ width, height }) {
  const side = Math.min(width, height), room = Math.max(width, height) - side;
  if (room < side / 4 || side < LEAST_SIDE) return [];
  const steps = Math.ceil(room / (side / 2));
  return Array.from({ length: steps + 1 }, (_, step) => {
    const offset = Math.round((room * step) / steps);
    return width > height ? [offset, 0] : [0, offset];
  });
}

/** Return whether an inner border of a tile cuts a box. */
function isCut([x0, y0, x1, y1], x, y, side, { width, height }) {
  return (x > 0 && x0 < 0) || (y > 0 && y0 < 0) || (x + side < width && x1 > side) || (y + side < height && y1 > side);
}

/** Return the best answer for each face. */
function keepBest(faces) {
  const kept = [];
  for (const face of faces.slice().sort((one, other) => other.score - one.score)) {
    const known = kept.some(({ box }) => {
      const smaller = Math.max(Math.min(area(box), area(face.box)), 1e-9);
      return overlap(face.box, box) > SAME || area(intersection(face.box, box)) / smaller > INSIDE;
    });
    if (!known) kept.push(face);
  }
  return kept;
}
