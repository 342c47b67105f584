import { IdentityError } from '../../core/errors.ts';
import type { FederationDeclaration } from '../../crds/federation-declaration.ts';
import { parseBundleDocument, type Bundle } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { declarationKey, precedenceOf } from '../identity/declaration-store.ts';
import { comparePrecedence, type Precedence } from '../identity/precedence.ts';
import type { Problem } from '../ports.ts';
import { refText } from '../ports.ts';

/** A federation relationship that ought to be at the CA. */
export interface DesiredRelationship {
  readonly declaration: FederationDeclaration;
  readonly precedence: Precedence;
  /** The bundle to begin with. */
  readonly bundle: Bundle | undefined;
}

/** Which trust domains are to be federated with: of several declarations for the same one the oldest holds. */
export class FederationIndex {
  readonly #own: TrustDomain;
  readonly #byKey = new Map<string, DesiredRelationship>();
  readonly #byTrustDomain = new Map<string, readonly DesiredRelationship[]>();
  #onChanged: (trustDomain: string) => void = () => {};

  constructor(own: TrustDomain) {
    this.#own = own;
  }

  /** Calls `listener` with each trust domain whose relationship changed. */
  onChanged(listener: (trustDomain: string) => void): void {
    this.#onChanged = listener;
  }

  /** @throws IdentityError when it cannot be right; what it was before then stays */
  put(declaration: FederationDeclaration): void {
    if (declaration.trustDomain.equals(this.#own)) {
      throw new IdentityError('invalid_argument', 'a trust domain does not federate with itself', { field: 'spec.trustDomain' });
    }
    const bundle = readBundle(declaration);
    const precedence = precedenceOf(declaration);
    const key = declarationKey(precedence);
    this.remove(key);
    const relationship = { declaration, precedence, bundle };
    this.#byKey.set(key, relationship);
    const { name } = declaration.trustDomain;
    const all = [...(this.#byTrustDomain.get(name) ?? []), relationship];
    this.#byTrustDomain.set(
      name,
      all.sort((a, b) => comparePrecedence(a.precedence, b.precedence)),
    );
    this.#onChanged(name);
  }

  remove(key: string): void {
    const present = this.#byKey.get(key);
    if (present === undefined) return;
    this.#byKey.delete(key);
    const { name } = present.declaration.trustDomain;
    const rest = (this.#byTrustDomain.get(name) ?? []).filter((each) => each !== present);
    if (rest.length === 0) this.#byTrustDomain.delete(name);
    else this.#byTrustDomain.set(name, rest);
    this.#onChanged(name);
  }

  has(key: string): boolean {
    return this.#byKey.has(key);
  }

  /** The names of the trust domains. */
  trustDomains(): Iterable<string> {
    return this.#byTrustDomain.keys();
  }

  /** The declaration that holds for a trust domain. */
  desired(trustDomain: string): DesiredRelationship | undefined {
    return this.#byTrustDomain.get(trustDomain)?.[0];
  }

  /** The keys of all that declare the trust domain. */
  declarersOf(trustDomain: string): readonly string[] {
    return (this.#byTrustDomain.get(trustDomain) ?? []).map(({ precedence }) => declarationKey(precedence));
  }

  /** The trust domain that an object declares. */
  trustDomainOf(key: string): string | undefined {
    return this.#byKey.get(key)?.declaration.trustDomain.name;
  }

  /** The older object because of which a declaration does not hold. */
  maskedBy(key: string): Problem | undefined {
    const present = this.#byKey.get(key);
    const winner = present && this.desired(present.declaration.trustDomain.name);
    if (present === undefined || winner === undefined || winner === present) return undefined;
    const message = `${refText(winner.precedence)}, which is older, declares the same trust domain, so its settings hold`;
    return { reason: 'Masked', message };
  }
}

function readBundle({ trustDomainBundle, trustDomain }: FederationDeclaration): Bundle | undefined {
  if (trustDomainBundle === undefined) return undefined;
  try {
    return parseBundleDocument(trustDomainBundle, trustDomain);
  } catch (cause) {
    const why = cause instanceof IdentityError ? cause.message : 'it cannot be read';
    throw new IdentityError('invalid_argument', `is no SPIFFE bundle document: ${why}`, {
      field: 'spec.trustDomainBundle',
      cause,
    });
  }
}
