import { createHmac, randomBytes } from 'node:crypto';
import { IdentityError } from '../../core/errors.ts';
import { readSecret } from '../../runtime/secret-file.ts';

const KEY_BYTES = 32;

/**
 * The key of the users' hashes: what the file holds, its final line break aside, so that hashes of several starts and nodes can be
 * compared; without a file, random.
 *
 * @throws IdentityError `failed_precondition` when the file cannot be read or holds less than 32 bytes
 */
export async function loadHashKey(file: string | undefined): Promise<Uint8Array> {
  if (file === undefined) return randomBytes(KEY_BYTES);
  const content = Buffer.from((await readSecret(file, "key of the users' hashes")).replace(/\r?\n$/, ''));
  if (content.length >= KEY_BYTES) return content;
  throw new IdentityError(
    'failed_precondition',
    `${file} holds ${content.length} bytes, ${KEY_BYTES} are needed; make one with "openssl rand -hex ${KEY_BYTES}"`,
  );
}

/** HMAC-SHA256 of a user's `sub`, in hexadecimal: tells users apart, and names nobody to whom the key is not known. */
export function hashSubject(subject: string, key: Uint8Array): string {
  return createHmac('sha256', key).update(subject).digest('hex');
}
