// Rotations: 3x3 matrices, row by row in an array of nine, and rotation vectors in radians.

/** Return the product of two matrices. */
export function multiply(a, b) {
  const product = new Array(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) product[3 * i + j] = a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j];
  }
  return product;
}

/** Return a matrix with rows and columns exchanged: of a rotation, the one back. */
export function transpose(m) {
  return [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
}

/** Return a matrix times a vector. */
export function rotate(m, [x, y, z]) {
  return [m[0] * x + m[1] * y + m[2] * z, m[3] * x + m[4] * y + m[5] * z, m[6] * x + m[7] * y + m[8] * z];
}

function fromQuaternion([w, x, y, z]) {
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** Return the rotation about a vector by its length. */
export function fromVector([x, y, z]) {
  const angle = Math.hypot(x, y, z), share = angle < 1e-9 ? 0.5 : Math.sin(angle / 2) / angle;
  return fromQuaternion([Math.cos(angle / 2), x * share, y * share, z * share]);
}

/** Return the vector of a rotation. */
export function toVector(m) {
  const [w, x, y, z] = quaternionOf(transpose(m));
  const sine = Math.hypot(x, y, z), sign = w < 0 ? -1 : 1;
  const share = sine < 1e-9 ? 2 : (2 * Math.atan2(sine, Math.abs(w))) / sine;
  return [x, y, z].map((value) => sign * share * value);
}

/**
 * Return the rotation R for which the trace of R times a matrix is largest. Of the sums of products of places
 * before (rows) and after (columns), it is the one that turns the first to the second best (Horn, 1987).
 */
export function fitRotation(sums) {
  return fromQuaternion(quaternionOf(sums));
}

/** Return the rotation nearest to a matrix, such as a mean of rotations. */
export function nearestRotation(matrix) {
  return fitRotation(transpose(matrix));
}

/** Return the quaternion (w, x, y, z) of `fitRotation`: an eigenvector, found by Jacobi's rotations. */
function quaternionOf([xx, xy, xz, yx, yy, yz, zx, zy, zz]) {
  const a = [
    [xx + yy + zz, yz - zy, zx - xz, xy - yx],
    [yz - zy, xx - yy - zz, xy + yx, zx + xz],
    [zx - xz, xy + yx, yy - xx - zz, yz + zy],
    [xy - yx, zx + xz, yz + zy, zz - xx - yy],
  ];
  const vectors = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    for (let p = 0; p < 3; p++) {
      for (let q = p + 1; q < 4; q++) {
        off += Math.abs(a[p][q]);
        if (Math.abs(a[p][q]) < 1e-300) continue;
        const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.hypot(theta, 1));
        const c = 1 / Math.hypot(t, 1), s = t * c;
        for (let k = 0; k < 4; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        for (let k = 0; k < 4; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        for (const row of vectors) [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
      }
    }
    if (off < 1e-14) break;
  }
  let best = 0;
  for (let k = 1; k < 4; k++) if (a[k][k] > a[best][best]) best = k;
  return vectors.map((row) => row[best]);
}

/** Return the turn of yaw (to the right of the picture), pitch (down) and roll (to the right), in degrees. */
export function turnOf({ yaw, pitch, roll }) {
  const [y, x, z] = [-yaw, pitch, roll].map((degrees) => (degrees * Math.PI) / 180);
  return multiply(multiply(fromVector([0, y, 0]), fromVector([x, 0, 0])), fromVector([0, 0, z]));
}
