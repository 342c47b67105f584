import { Current, type Source } from '../../core/current.ts';
import type { Bundle } from '../../spiffe/bundle.ts';

/**
 * The bundles that the agent knows: that of its own trust domain and those it federates with. A bundle that is delivered again
 * without a difference keeps its object, so that nothing that was made from it is made anew.
 */
export class BundleSet {
  #own: Bundle;
  readonly #federated = new Map<string, Bundle>();
  readonly #revision = new Current(0);
  #isChanged = false;

  constructor(own: Bundle) {
    this.#own = own;
  }

  get own(): Bundle {
    return this.#own;
  }

  /** By trust domain name. */
  get federated(): ReadonlyMap<string, Bundle> {
    return this.#federated;
  }

  /** Counts the announced changes; for those who follow all bundles. */
  get revision(): Source<number> {
    return this.#revision;
  }

  /** Tells those who follow that something changed, if it did: when everything that came with it is in force as well. */
  announce(): void {
    if (!this.#isChanged) return;
    this.#isChanged = false;
    this.#revision.set(this.#revision.value + 1);
  }

  /** The bundle of a trust domain by name; undefined when unknown. */
  get(name: string): Bundle | undefined {
    return name === this.#own.trustDomain.name ? this.#own : this.#federated.get(name);
  }

  /** @returns whether it differs from what was known */
  put(bundle: Bundle): boolean {
    const { name } = bundle.trustDomain;
    const known = this.get(name);
    if (known !== undefined && isSameBundle(known, bundle)) return false;
    if (name === this.#own.trustDomain.name) this.#own = bundle;
    else this.#federated.set(name, bundle);
    this.#isChanged = true;
    return true;
  }

  /** Forgets a foreign bundle; the own one stays. @returns whether there was one */
  remove(name: string): boolean {
    const existed = this.#federated.delete(name);
    this.#isChanged ||= existed;
    return existed;
  }
}

/** Whether two bundles say the same, whatever their sequence numbers. */
export function isSameBundle(a: Bundle, b: Bundle): boolean {
  return a === b || (taintsOf(a) === taintsOf(b) && contentOf(a) === contentOf(b));
}

function contentOf(bundle: Bundle): string {
  const x509 = bundle.x509Authorities.map(({ der }) => Buffer.from(der).toString('base64'));
  const keys = [...bundle.jwtAuthorities.values(), ...bundle.witAuthorities.values()];
  return JSON.stringify([
    bundle.trustDomain.name,
    bundle.refreshHintSeconds,
    x509,
    keys.map(({ keyId, spki, expiresAtMs }) => [keyId, Buffer.from(spki).toString('base64'), expiresAtMs]),
    bundle.jwtAuthorities.size,
  ]);
}

function taintsOf(bundle: Bundle): string {
  const keys = [...bundle.jwtAuthorities.values(), ...bundle.witAuthorities.values()];
  return [...bundle.x509Authorities, ...keys].map(({ tainted }) => (tainted ? '1' : '0')).join('');
}
