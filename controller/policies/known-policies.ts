import { ownerOfDocument } from '../../policy/document-owner.ts';
import { declarationKey } from '../identity/declaration-store.ts';
import type { StoredName, StoredPolicy } from './policy-client.ts';

/** A resource of ours as it is known to be at the CA. */
export interface KnownPolicy {
  readonly name: StoredName;
  readonly document: string;
  /** From which on it is in force; 0 where it is only known to be there. */
  readonly revision: bigint;
}

/** What is known to be at the CA, by key: documents of ours, and the names of everybody else's. */
export class KnownPolicies {
  readonly #owner: string;
  #ours = new Map<string, KnownPolicy>();
  #foreign = new Set<string>();
  /** The keys written since a comparison began to read; undefined while none is under way. */
  #written: Set<string> | undefined;

  constructor(owner: string) {
    this.#owner = owner;
  }

  get size(): number {
    return this.#ours.size;
  }

  keys(): Iterable<string> {
    return this.#ours.keys();
  }

  get(key: string): KnownPolicy | undefined {
    return this.#ours.get(key);
  }

  /** Whether somebody else put a resource of this name there. */
  isForeign(key: string): boolean {
    return this.#foreign.has(key);
  }

  wrote(key: string, policy: KnownPolicy): void {
    this.#written?.add(key);
    this.#ours.set(key, policy);
  }

  gone(key: string): void {
    this.#written?.add(key);
    this.#ours.delete(key);
  }

  clear(): void {
    this.#ours.clear();
    this.#foreign.clear();
    this.#written = undefined;
  }

  /**
   * Takes in everything that is there. What was written meanwhile is left alone.
   *
   * @param textOf the document that ought to be there: of two equal texts one is kept
   * @returns what is not as it was known
   */
  async read(parts: AsyncIterable<readonly StoredPolicy[]>, textOf: (key: string) => string | undefined): Promise<PolicyDrift> {
    const written = new Set<string>();
    this.#written = written;
    const ours = new Map<string, KnownPolicy>();
    const foreign = new Set<string>();
    for await (const part of parts) {
      for (const { name, document } of part) {
        const key = declarationKey(name);
        if (ownerOfDocument(document) === this.#owner)
          ours.set(key, { name, document: sameText(document, textOf(key)), revision: 0n });
        else foreign.add(key);
      }
    }
    this.#written = undefined;
    return this.#take({ ours, foreign, written });
  }

  #take({ ours, foreign, written }: Read): PolicyDrift {
    const before = this.#ours;
    const isChanged = (key: string): boolean => !written.has(key) && before.get(key)?.document !== ours.get(key)?.document;
    const changed = [...new Set([...before.keys(), ...ours.keys()])].filter(isChanged);
    const moved = this.#foreign.symmetricDifference(foreign);
    const unknown = changed.filter((key) => ours.has(key) && !before.has(key));
    for (const key of written) {
      foreign.delete(key);
      const now = before.get(key);
      if (now === undefined) ours.delete(key);
      else ours.set(key, now);
    }
    for (const [key, { document, revision }] of before) {
      const now = ours.get(key);
      if (now?.document === document) ours.set(key, { ...now, revision });
    }
    this.#ours = ours;
    this.#foreign = foreign;
    return { changed, unknown, others: [...moved] };
  }
}

/** What is at the CA otherwise than it was known, by keys. */
export interface PolicyDrift {
  /** Of ours: changed, gone or come. */
  readonly changed: readonly string[];
  /** Of these, those that nobody knew of. */
  readonly unknown: readonly string[];
  /** Somebody else's, come or gone. */
  readonly others: readonly string[];
}

interface Read {
  readonly ours: Map<string, KnownPolicy>;
  readonly foreign: Set<string>;
  readonly written: ReadonlySet<string>;
}

function sameText(read: string, held: string | undefined): string {
  return held === read ? held : read;
}
