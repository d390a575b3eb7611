// Frames of clips and cameras.

/**
 * Return the pixels of a picture, a video or a canvas, on white where it is transparent.
 * @returns {import("./pictures.js").Picture}
 */
export function readPixels(source, width, height) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, data };
}

/** A clip whose frames are read one by one. */
export class Clip {
  /**
   * Open a clip.
   * @param {Blob} file
   * @param {string} name of it, for errors
   */
  static async open(file, name) {
    const clip = new Clip();
    clip.video = document.createElement("video");
    clip.video.muted = true;
    clip.video.preload = "auto";
    clip.video.src = URL.createObjectURL(file);
    try {
      await new Promise((done, fail) => {
        clip.video.onloadeddata = done;
        clip.video.onerror = fail;
      });
    } catch {
      clip.close();
      throw new Error(`${name} is no video that this browser can play. Give an MP4 or WebM file.`);
    }
    if (!clip.video.videoWidth || !Number.isFinite(clip.video.duration)) {
      clip.close();
      throw new Error(`${name} has no picture, or does not tell how long it is. Give an MP4 or WebM file.`);
    }
    clip.fps = (await findRate(file)) ?? 25;
    clip.count = Math.max(1, Math.round(clip.video.duration * clip.fps));
    return clip;
  }

  /** Return the pixels of a frame, by its number. */
  async read(number) {
    const { video } = this;
    await new Promise((done, fail) => {
      video.onseeked = done;
      video.onerror = () => fail(new Error(`The clip cannot be read at frame ${number}. Give another file.`));
      video.currentTime = (number + 0.5) / this.fps;
    });
    return readPixels(video, video.videoWidth, video.videoHeight);
  }

  close() {
    this.video.onerror = null;
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
  }
}

/**
 * Return the frames a second of an MP4 file's video, as its tables tell; null for other files.
 * @param {Blob} file
 */
async function findRate(file) {
  if (file.size > 2 ** 29) return null;
  const view = new DataView(await file.arrayBuffer());
  try {
    const moov = findBox(view, { start: 0, end: view.byteLength }, "moov");
    for (const trak of moov ? boxesIn(view, moov) : []) {
      const mdia = trak.name === "trak" && findBox(view, trak, "mdia");
      const handler = mdia && findBox(view, mdia, "hdlr");
      if (!handler || nameAt(view, handler.start + 8) !== "vide") continue;
      const mdhd = findBox(view, mdia, "mdhd").start, long = view.getUint8(mdhd) === 1;
      const scale = view.getUint32(mdhd + (long ? 20 : 12));
      const stts = ["minf", "stbl", "stts"].reduce((box, name) => findBox(view, box, name), mdia).start;
      let frames = 0, ticks = 0;
      for (let k = 0; k < view.getUint32(stts + 4); k++) {
        frames += view.getUint32(stts + 8 + 8 * k);
        ticks += view.getUint32(stts + 8 + 8 * k) * view.getUint32(stts + 12 + 8 * k);
      }
      const rate = (frames * scale) / ticks;
      return rate >= 1 && rate <= 120 ? rate : null;
    }
  } catch {
    // damaged, or not an MP4 file: the browser plays what it can
  }
  return null;
}

function nameAt(view, place) {
  return String.fromCharCode(...[0, 1, 2, 3].map((k) => view.getUint8(place + k)));
}

function* boxesIn(view, { start, end }) {
  while (start + 8 <= end) {
    let size = view.getUint32(start), header = 8;
    if (size === 1) [size, header] = [Number(view.getBigUint64(start + 8)), 16];
    if (size === 0) size = end - start;
    if (size < header) return;
    yield { name: nameAt(view, start + 4), start: start + header, end: Math.min(start + size, end) };
    start += size;
  }
}

function findBox(view, inside, name) {
  for (const box of boxesIn(view, inside)) if (box.name === name) return box;
  return null;
}

/** A camera, whose newest frame is read. */
export class Camera {
  static async open() {
    if (!navigator.mediaDevices) throw new Error("This page may use no camera. Open it by https, or on localhost.");
    const camera = new Camera();
    try {
      camera.stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    } catch (reason) {
      throw new Error(`The camera cannot be used (${reason.message}). Allow it, or connect one.`);
    }
    camera.video = document.createElement("video");
    Object.assign(camera.video, { muted: true, playsInline: true, srcObject: camera.stream });
    await camera.video.play();
    return camera;
  }

  /** Return the pixels of the newest frame. */
  read() {
    return readPixels(this.video, this.video.videoWidth, this.video.videoHeight);
  }

  close() {
    for (const track of this.stream.getTracks()) track.stop();
  }
}
