import { IdentityError } from '../../core/errors.ts';
import type { KeyAlgorithm, KeyStore, SigningKey } from './key-store.ts';
import { generatePrivateKey, softwareKey } from './software-key.ts';

/** Keys that end with the process. */
export class MemoryKeyStore implements KeyStore {
  readonly persistent = false;
  readonly #keys = new Map<string, SigningKey>();

  async create(id: string, algorithm: KeyAlgorithm): Promise<SigningKey> {
    const key = softwareKey(id, algorithm, await generatePrivateKey(algorithm));
    if (this.#keys.has(id)) throw new IdentityError('already_exists', `there is a key ${id} already`);
    this.#keys.set(id, key);
    return key;
  }

  load(id: string): Promise<SigningKey | undefined> {
    return Promise.resolve(this.#keys.get(id));
  }

  delete(id: string): Promise<void> {
    this.#keys.delete(id);
    return Promise.resolve();
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve([...this.#keys.keys()]);
  }
}
