const INTEGER = 0x02;
const SHORT_FORM_END = 0x80;

/**
 * An ECDSA signature as two numbers side by side, as tokens have it (RFC 7518 §3.4), from the DER that OpenSSL makes. Asking
 * `node:crypto` for this form takes twice as long as signing and this together.
 *
 * @param der SEQUENCE of two INTEGERs, from this process's own signing and therefore well-formed
 * @param size bytes of each number: 32 for P-256, 48 for P-384
 */
export function flattenEcdsaSignature(der: Uint8Array, size: number): Uint8Array {
  const flat = new Uint8Array(2 * size);
  // Two numbers of 48 bytes at most: the length of the SEQUENCE has one byte up to 127, else two.
  let at = (der[1] ?? 0) < SHORT_FORM_END ? 2 : 3;
  for (let end = size; end <= 2 * size; end += size) {
    if (der[at] !== INTEGER) throw new Error('an ECDSA signature is not DER');
    const length = der[at + 1] ?? 0;
    const start = at + 2;
    at = start + length;
    const digits = der.subarray(Math.max(start, at - size), at);
    flat.set(digits, end - digits.length);
  }
  return flat;
}
