import { createPrivateKey, type KeyObject } from 'node:crypto';
import { access, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { IdentityError } from '../../core/errors.ts';
import type { KeyAlgorithm, KeyStore, SigningKey } from './key-store.ts';
import { openPrivateDir, readPrivateFile, removePrivateFile, writePrivateFile } from '../../runtime/private-file.ts';
import { algorithmOf, generatePrivateKey, softwareKey } from './software-key.ts';

const ID = /^[A-Za-z0-9][A-Za-z0-9.-]{0,127}$/;
const SUFFIX = '.pem';

/** Keys as PKCS#8 PEM files, one for each, that only the owner may read. */
export class DiskKeyStore implements KeyStore {
  readonly persistent = true;
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Opens the folder, making it if need be. @throws IdentityError `failed_precondition` when others may use it, `unavailable` */
  static async open(dir: string): Promise<DiskKeyStore> {
    await openPrivateDir(dir);
    return new DiskKeyStore(dir);
  }

  async create(id: string, algorithm: KeyAlgorithm): Promise<SigningKey> {
    const path = this.#path(id);
    const privateKey = await generatePrivateKey(algorithm);
    if (await exists(path)) throw new IdentityError('already_exists', `there is a key ${id} already`);
    await writePrivateFile(path, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    return softwareKey(id, algorithm, privateKey);
  }

  async load(id: string): Promise<SigningKey | undefined> {
    const path = this.#path(id);
    const pem = await readPrivateFile(path);
    if (pem === undefined) return undefined;
    const privateKey = parsePrivateKey(pem, path);
    return softwareKey(id, algorithmOf(privateKey), privateKey);
  }

  delete(id: string): Promise<void> {
    return removePrivateFile(this.#path(id));
  }

  async list(): Promise<readonly string[]> {
    const names = await readdir(this.#dir);
    return names.filter((name) => name.endsWith(SUFFIX)).map((name) => name.slice(0, -SUFFIX.length));
  }

  #path(id: string): string {
    if (!ID.test(id)) throw new IdentityError('invalid_argument', 'a key ID has letters, digits, dots and dashes, at most 128');
    return join(this.#dir, id + SUFFIX);
  }
}

function parsePrivateKey(pem: string, path: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch {
    // The cause is left out: it may quote the file, which holds the key.
    throw new IdentityError(
      'failed_precondition',
      `${path} is no private key in PEM; restore it, or remove it so that a new key is made`,
    );
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
