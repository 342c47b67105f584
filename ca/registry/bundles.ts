import { Current } from '../../core/current.ts';
import type { Source } from '../../core/current.ts';
import { Bundle, JwtAuthority, X509Authority } from '../../spiffe/bundle.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { Authority, AuthorityKind, FederationRelationship } from '../model.ts';
import { NamedCollection } from './named-collection.ts';

/** The own bundle, composed from the authorities of all replicas, and the bundles of other trust domains. */
export class Bundles {
  readonly federated = new NamedCollection<TrustDomain, Bundle, undefined>(() => () => true);
  readonly relationships = new NamedCollection<TrustDomain, FederationRelationship, undefined>(() => () => true);
  readonly authorities = new NamedCollection<string, Authority, undefined>(() => () => true);
  readonly #trustDomain: TrustDomain;
  readonly #refreshHintSeconds: number | undefined;
  readonly #own: Current<Bundle>;
  /** Names of trust domains whose bundle ended, with the revision; as many as there ever were since the start. */
  readonly #removed = new Map<string, number>();
  #ownRevision = 0;
  #lastRevision = 0;

  constructor(trustDomain: TrustDomain, refreshHintSeconds: number | undefined) {
    this.#trustDomain = trustDomain;
    this.#refreshHintSeconds = refreshHintSeconds;
    this.#own = new Current(this.#compose());
  }

  get own(): Source<Bundle> {
    return this.#own;
  }

  /** Revision of the last change of an authority: the own bundle's sequence number. */
  get ownRevision(): number {
    return this.#ownRevision;
  }

  /** Revision of the last change of a federated bundle. */
  get lastRevision(): number {
    return this.#lastRevision;
  }

  of(trustDomain: TrustDomain): Bundle | undefined {
    return trustDomain.equals(this.#trustDomain) ? this.#own.value : this.federated.get(trustDomain);
  }

  authority(kind: AuthorityKind, id: string): Authority | undefined {
    return this.authorities.get(`${kind}/${id}`);
  }

  /** Notes a change of an authority; {@link publish} makes the bundle of all that were noted. */
  putAuthority(name: string, record: { value: Authority | undefined; revision: number; position: number }): void {
    const { value, revision, position } = record;
    if (value === undefined) this.authorities.delete(name);
    else this.authorities.put(name, { value, revision, position });
    this.#ownRevision = Math.max(this.#ownRevision, revision);
  }

  publish(): void {
    this.#own.set(this.#compose());
  }

  putFederated(name: string, record: { value: Bundle | undefined; revision: number; position: number }): void {
    const { value, revision, position } = record;
    this.#lastRevision = Math.max(this.#lastRevision, revision);
    if (value === undefined) {
      this.federated.delete(name);
      this.#removed.set(name, revision);
    } else {
      this.federated.put(name, { value, revision, position });
      this.#removed.delete(name);
    }
  }

  /** Names of all trust domains, other than the own, that have a bundle or had one. */
  *everKnown(): Generator<string, void, undefined> {
    yield* this.federated.names();
    yield* this.#removed.keys();
  }

  #compose(): Bundle {
    const authorities = [...this.authorities.records()].map(({ value }) => value);
    const ofKind = (kind: AuthorityKind): readonly Authority[] => authorities.filter((authority) => authority.kind === kind);
    return new Bundle({
      trustDomain: this.#trustDomain,
      x509Authorities: ofKind('x509').map(({ publicBytes, tainted }) => new X509Authority(publicBytes, { tainted })),
      jwtAuthorities: ofKind('jwt').map(tokenAuthority),
      witAuthorities: ofKind('wit').map(tokenAuthority),
      refreshHintSeconds: this.#refreshHintSeconds,
      sequenceNumber: BigInt(this.#ownRevision),
    });
  }
}

function tokenAuthority({ id, publicBytes, expiresAtSeconds, tainted }: Authority): JwtAuthority {
  const expiresAtMs = expiresAtSeconds === 0 ? undefined : expiresAtSeconds * 1000;
  return new JwtAuthority(id, publicBytes, { expiresAtMs, tainted });
}
