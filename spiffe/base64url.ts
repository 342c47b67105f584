/**
 * Decodes base64url as JOSE writes it (RFC 7515 §2): no padding, no other characters, unused bits zero.
 *
 * @returns undefined when the text is anything else
 */
export function decodeBase64url(text: string): Uint8Array | undefined {
  const bytes = Buffer.from(text, 'base64url');
  // Node skips what it does not know; only an exact round trip proves that nothing was skipped.
  return bytes.toString('base64url') === text ? bytes : undefined;
}

/** Encodes bytes, or the UTF-8 of a text, as base64url without padding. */
export function encodeBase64url(content: Uint8Array | string): string {
  const buffer =
    typeof content === 'string' ? Buffer.from(content, 'utf8') : Buffer.from(content.buffer, content.byteOffset, content.length);
  return buffer.toString('base64url');
}
