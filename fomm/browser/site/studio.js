// The worker: it holds the networks and the photo, and paints one frame for each message.

import { area, giveRoom, headBox, squareAround } from "./boxes.js";
import { ClipDriver, LiveDriver } from "./drivers.js";
import { FaceFinder } from "./faces.js";
import { makeNumber, Marker, writeWord } from "./mark.js";
import { measureMotion } from "./motion.js";
import { Networks } from "./networks.js";
import { Paste } from "./paste.js";
import { blend, PhotoFace } from "./photo-face.js";
import { cutOut, toPicture, toPlanes } from "./pictures.js";

const STILL = 0.03, FREE = 0.16; // shares of a square's side, from its border: nothing moves; everything does
const GONE = 0.5, EASE = 0.5; // seconds without a face until the photo goes to rest, and how long that takes

let networks, finder, constants, photo, driver, marker, moved, eased;

/** What the page may ask for; each gets a message's values and returns an answer. */
const actions = {
  /** Open the networks. */
  async open({ engine }, tell) {
    constants = await (await fetch("constants.json")).json();
    networks = await Networks.open(tell, engine);
    finder = new FaceFinder(networks);
    return { engine: networks.engine, threads: networks.threads };
  },

  /** Meet a photo: find its face, encode it, learn how it moves; answer with the photo at rest. */
  async meet({ picture }, tell) {
    photo = null;
    photo = await meetPhoto(picture, tell);
    marker = new Marker(constants, makeNumber());
    return { frame: finish(photo.paste.photo), square: photo.square };
  },

  /** Begin another result: it gets a random number of its own in its mark. */
  begin({ live }) {
    marker = new Marker(constants, makeNumber());
    if (!live) return;
    [moved, eased] = [null, { share: 0, time: null, seen: -Infinity }];
    driver = new LiveDriver(finder, constants);
  },

  /** Paint the photo with another expression, without a driver. */
  async edit({ edit }) {
    const still = { pose: 0, mouth: 0, eyes: 0, brows: 0 }, { face } = photo;
    return { frame: await paint(face.move(face.rest, face.rest, { strength: still, edit })) };
  },

  /** Look for the driver's face in a frame of a clip. */
  async look({ picture, number, fps }) {
    if (number === 0) driver = new ClipDriver(finder, constants, fps);
    await driver.look(picture, number);
  },

  /** Choose the driver of a clip of so many frames. */
  choose({ count }) {
    driver.chooseFace(count);
  },

  /** Measure the driver's face in a frame of a clip. */
  async measure({ picture, number }) {
    await driver.measure(picture, number);
  },

  /** Know the clip's motion. */
  know() {
    Object.assign(driver, driver.finish(photo.face.rest));
  },

  /** Paint the photo as the clip moves in a frame. */
  async play({ number, settings }) {
    const wanted = photo.face.move(driver.motion[number], driver.reference, settings);
    const strength = driver.strength(number);
    return { frame: await paint(strength === 1 ? wanted : blend(photo.face.keypoints, wanted, strength)) };
  },

  /** Paint the photo as the face before the camera moves. */
  async follow({ picture, time, settings }) {
    const seen = await driver.follow(picture, time);
    if (seen) {
      moved = photo.face.move(seen.motion, seen.reference, settings);
      eased.seen = time;
    }
    const passed = eased.time === null ? 0 : (time - eased.time) / EASE, goal = time - eased.seen < GONE ? 1 : 0;
    eased = { ...eased, time, share: Math.min(Math.max(eased.share + (goal ? passed : -passed), 0), 1) };
    const share = eased.share * eased.share * (3 - 2 * eased.share);
    const points = moved ? blend(photo.face.keypoints, moved, share) : photo.face.keypoints;
    return { frame: await paint(points), seen: Boolean(seen) };
  },
};

self.onmessage = async ({ data: { id, action, values } }) => {
  try {
    const answer = (await actions[action](values, (share) => self.postMessage({ id, share }))) ?? {};
    self.postMessage({ id, answer }, answer.frame ? [answer.frame.data.buffer] : []);
  } catch (reason) {
    self.postMessage({ id, error: reason.message ?? String(reason) });
  }
};

async function meetPhoto(picture, tell) {
  const [side] = constants.size;
  const faces = await finder.find(picture, false);
  if (!faces.length) throw new Error("No face was found in the photo. Give one that shows a face well.");
  const squares = faces.map((face) => giveRoom(squareAround(headBox(face)), constants.room));
  const square = squares.reduce((best, other) => (area(other) > area(best) ? other : best));
  const cut = cutOut(picture, square, side, side), planes = toPlanes(cut), shape = [1, 3, side, side];
  const inside = await finder.keepConfirmed(cut, await finder.detect(cut));
  if (!inside.length) throw new Error("The face in the photo was not seen closely. Give one that shows it better.");
  const place = inside.reduce((best, face) => (area(face.box) > area(best.box) ? face : best));
  const measure = async (seen) => {
    const { points } = await finder.mesh(seen, place);
    return measureMotion(points.map((value, k) => (value * 2) / side - (k % 3 === 2 ? 0 : 1)), constants);
  };
  const { value: [value], jacobian: [jacobian] } = await networks.run("keypoints", { images: [planes, shape] });
  const face = new PhotoFace(await measure(cut), { value, jacobian }, constants);
  const encoded = await networks.run("source", { picture: [planes, shape] });
  const cells = encoded.small[1][2];
  const still = {
    ...encoded,
    freedom: [freeInside(cells), [1, cells, cells]],
    source_value: [face.keypoints.value, [1, 16, 2]],
    source_jacobian: [face.keypoints.jacobian, [1, 16, 2, 2]],
  };
  const render = async (points) => {
    const { prediction: [prediction], deformation: [deformation], occlusion_map: shown } = await networks.run(
      "render", { ...still, value: [points.value, [1, 16, 2]], jacobian: [points.jacobian, [1, 16, 2, 2]] },
    );
    return { prediction, deformation, occlusion: shown?.[0] };
  };
  await face.calibrate(async (points) => measure(toPicture((await render(points)).prediction, side, side)), tell);
  const rest = await render(face.keypoints);
  return { face, render, square, paste: new Paste(picture, square, rest.prediction, side, cells) };
}

/** Return how much of its motion each place makes: none at the border of the square. */
function freeInside(cells) {
  const shares = Array.from({ length: cells }, (_, i) => {
    const place = (i + 0.5) / cells, share = (Math.min(place, 1 - place) - STILL) / (FREE - STILL);
    return Math.min(Math.max(share, 0), 1) ** 2 * (3 - 2 * Math.min(Math.max(share, 0), 1));
  });
  return Float32Array.from(shares.flatMap((down) => shares.map((across) => down * across)));
}

async function paint(points) {
  return finish(photo.paste.paste(await photo.render(points)));
}

/** Return a frame with the word and the mark in it; every frame that leaves the worker comes through here. */
function finish({ width, height, data }) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.putImageData(new ImageData(data.slice(), width, height), 0, 0);
  writeWord(context);
  const frame = context.getImageData(0, 0, width, height);
  marker.mark(frame);
  return { width, height, data: frame.data };
}
