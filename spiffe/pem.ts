import { IdentityError } from '../core/errors.ts';

const BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----\s+([A-Za-z0-9+/=\s]+?)\s*-----END \1-----/g;

/** Writes DER as one PEM block, such as `encodePem('CERTIFICATE', der)`. */
export function encodePem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der).toString('base64');
  return `-----BEGIN ${label}-----\n${base64.replaceAll(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;
}

/**
 * Reads the blocks of one label in a PEM text, in order; text between blocks is passed over, as RFC 7468 §2 allows.
 *
 * @returns their DER
 * @throws IdentityError `invalid_argument` when there is none, when a block is broken, or when a block has another label
 */
export function decodePem(pem: string, label: string, field = 'pem'): readonly Uint8Array[] {
  const fault = (message: string): IdentityError => new IdentityError('invalid_argument', message, { field });
  const blocks = [...pem.matchAll(BLOCK)];
  const begun = pem.split('-----BEGIN ').length - 1;
  if (begun !== blocks.length) throw fault('a PEM block is broken');
  if (blocks.length === 0) throw fault(`holds no PEM block "${label}"`);
  return blocks.map(([, found, body = '']) => {
    if (found !== label) throw fault(`holds a PEM block "${found}"; only "${label}" is expected here`);
    const base64 = body.replaceAll(/\s/g, '');
    const der = Buffer.from(base64, 'base64');
    if (der.toString('base64') !== base64) throw fault('a PEM block is not base64');
    return new Uint8Array(der);
  });
}
