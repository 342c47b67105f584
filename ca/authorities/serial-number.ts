import { randomFillSync } from 'node:crypto';

const SERIAL_BYTES = 16;
// Drawing many at once costs a tenth of drawing each.
const pool = new Uint8Array(SERIAL_BYTES * 256);
let used = pool.length;

/**
 * A certificate serial number: 127 random bits, so positive in 16 bytes, and never zero. Two are equal with a probability of
 * one in 2^64 after four thousand million million certificates, across restarts and replicas, with nothing to remember.
 */
export function createSerialNumber(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const serial = pool.slice(used, used + SERIAL_BYTES);
  used += SERIAL_BYTES;
  serial[0] = (serial[0] ?? 0) & 0x7f;
  return serial.every((byte) => byte === 0) ? createSerialNumber() : serial;
}

/** A serial number as a decimal number, as SPIRE writes it. */
export function serialToDecimal(serial: Uint8Array): string {
  return BigInt(`0x${Buffer.from(serial).toString('hex')}`).toString();
}

/** A serial number in lower-case hexadecimal without leading zeros, as `Certificate.serialHex`. */
export function serialToHex(serial: Uint8Array): string {
  return Buffer.from(serial)
    .toString('hex')
    .replace(/^0+(?=.)/, '');
}
