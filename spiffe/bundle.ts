import { IdentityError } from '../core/errors.ts';
import { JwtAuthority, X509Authority } from './authority.ts';
import type { WitAuthority } from './authority.ts';
import { formatJwk, parseJwk } from './jwk.ts';
import { isJsonObject, parseJsonObject } from './strict-json.ts';
import type { JsonObject, JsonReviver } from './strict-json.ts';
import { parseTrustDomain } from './trust-domain.ts';
import type { TrustDomain } from './trust-domain.ts';

export { JwtAuthority, X509Authority } from './authority.ts';
export type { WitAuthority } from './authority.ts';

/** What a {@link Bundle} is made of. */
export interface BundleContent {
  readonly trustDomain: TrustDomain;
  readonly x509Authorities?: readonly X509Authority[];
  readonly jwtAuthorities?: Iterable<JwtAuthority>;
  readonly witAuthorities?: Iterable<WitAuthority>;
  readonly refreshHintSeconds?: number | undefined;
  readonly sequenceNumber?: bigint | undefined;
}

/** The keys that are authoritative for a trust domain (SPIFFE Trust Domain and Bundle §3). Immutable. */
export class Bundle {
  readonly trustDomain: TrustDomain;
  readonly x509Authorities: readonly X509Authority[];
  /** By `kid`. */
  readonly jwtAuthorities: ReadonlyMap<string, JwtAuthority>;
  /** By `kid`. */
  readonly witAuthorities: ReadonlyMap<string, WitAuthority>;
  readonly refreshHintSeconds: number | undefined;
  readonly sequenceNumber: bigint | undefined;

  constructor(content: BundleContent) {
    this.trustDomain = content.trustDomain;
    this.x509Authorities = [...(content.x509Authorities ?? [])];
    this.jwtAuthorities = new Map([...(content.jwtAuthorities ?? [])].map((authority) => [authority.keyId, authority]));
    this.witAuthorities = new Map([...(content.witAuthorities ?? [])].map((authority) => [authority.keyId, authority]));
    this.refreshHintSeconds = content.refreshHintSeconds;
    this.sequenceNumber = content.sequenceNumber;
  }
}

/** Where verification finds the bundle of a trust domain; undefined when that domain is not trusted. */
export interface BundleSource {
  bundleOf(trustDomain: TrustDomain): Bundle | undefined;
}

const FIELD = 'bundle';
const MAX_SEQUENCE = 2n ** 64n - 1n;

/**
 * Reads a SPIFFE bundle document: a JWK set (Trust Domain and Bundle §4). Keys of unknown type or use are passed over; a document
 * without usable keys is a bundle without authorities, which trusts nothing.
 *
 * @throws IdentityError `invalid_argument`, naming the faulty key
 * @example
 * parseBundleDocument('{"keys": []}', parseTrustDomain('example.org'));
 */
export function parseBundleDocument(json: Uint8Array | string, trustDomain: TrustDomain): Bundle {
  return bundleOfDocument(parseJsonObject(json, FIELD, keepLargeIntegers), trustDomain, FIELD);
}

/**
 * Reads a plain JWK set of one SVID type, as the Workload API's JWT and WIT bundles are (Workload API §6.2.2, §7.2.2): its keys
 * need no `use`.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseTokenKeySet(json: Uint8Array | string, trustDomain: TrustDomain, type: 'jwt' | 'wit'): Bundle {
  const document = parseJsonObject(json, FIELD, keepLargeIntegers);
  const keys: unknown = document['keys'];
  if (!Array.isArray(keys)) throw fault(`${FIELD}.keys`, 'is missing or no list');
  const typed = keys.map((key: unknown) => (isJsonObject(key) ? { use: `${type}-svid`, ...key } : key));
  return bundleOfDocument({ keys: typed }, trustDomain, FIELD);
}

/**
 * Reads a SPIFFE bundle map (Trust Domain and Bundle §5): the bundles of several trust domains, by name.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseBundleMap(json: Uint8Array | string): ReadonlyMap<string, Bundle> {
  const { trust_domains: documents } = parseJsonObject(json, 'bundle_map', keepLargeIntegers);
  if (!isJsonObject(documents)) throw fault('bundle_map.trust_domains', 'is missing or no JSON object');
  return new Map(
    Object.entries(documents).map(([name, document]) => {
      const field = `bundle_map.trust_domains["${name}"]`;
      const trustDomain = parseTrustDomain(name, field);
      if (!isJsonObject(document)) throw fault(field, 'is no JSON object');
      return [trustDomain.name, bundleOfDocument(document, trustDomain, field)];
    }),
  );
}

// §4.1.1: sequence numbers need 64 bits of precision, which a JSON number of JavaScript does not have.
const keepLargeIntegers: JsonReviver = (_name, value, context) =>
  typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
    ? BigInt(context?.source ?? '')
    : value;

function bundleOfDocument(document: JsonObject, trustDomain: TrustDomain, field: string): Bundle {
  const keys: unknown = document['keys'];
  if (!Array.isArray(keys)) throw fault(`${field}.keys`, 'is missing or no list');
  const x509Authorities: X509Authority[] = [];
  const tokenAuthorities = { 'jwt-svid': new Map<string, JwtAuthority>(), 'wit-svid': new Map<string, WitAuthority>() };
  for (const [index, key] of keys.entries()) {
    const at = `${field}.keys[${index}]`;
    if (!isJsonObject(key)) throw fault(at, 'is no JSON object');
    const { use } = key;
    if (use === 'x509-svid') x509Authorities.push(...readX509Authority(key, at));
    else if (use === 'jwt-svid' || use === 'wit-svid') {
      const authority = readTokenAuthority(key, at);
      if (authority === undefined) continue;
      // WIT-SVID §6.1: no two keys of the bundle share an ID.
      if (Object.values(tokenAuthorities).some((known) => known.has(authority.keyId)))
        throw fault(at, 'has the key ID of another key');
      tokenAuthorities[use].set(authority.keyId, authority);
    }
  }
  const hint = readCount(document['spiffe_refresh_hint'], `${field}.spiffe_refresh_hint`);
  return new Bundle({
    trustDomain,
    x509Authorities,
    jwtAuthorities: tokenAuthorities['jwt-svid'].values(),
    witAuthorities: tokenAuthorities['wit-svid'].values(),
    refreshHintSeconds: hint === undefined ? undefined : Number(hint),
    sequenceNumber: readCount(document['spiffe_sequence'], `${field}.spiffe_sequence`),
  });
}

/** X509-SVID §6.2: an entry without certificate is ignored, and so are all its certificates but the first. */
function readX509Authority(key: JsonObject, field: string): readonly X509Authority[] {
  const chain: unknown = key['x5c'];
  if (chain === undefined || (Array.isArray(chain) && chain.length === 0)) return [];
  const first: unknown = Array.isArray(chain) ? chain[0] : undefined;
  const der = Buffer.from(typeof first === 'string' ? first : '', 'base64');
  if (der.length === 0 || der.toString('base64') !== first) throw fault(`${field}.x5c[0]`, 'is not base64');
  const authority = new X509Authority(new Uint8Array(der));
  try {
    void authority.certificate;
  } catch (cause) {
    throw new IdentityError('invalid_argument', 'is no certificate', { field: `${field}.x5c[0]`, cause });
  }
  return [authority];
}

/** JWT-SVID §6, WIT-SVID §6; undefined for a key type that is unknown here. */
function readTokenAuthority(key: JsonObject, field: string): JwtAuthority | undefined {
  const info = parseJwk(key, field);
  if (info === undefined) return undefined;
  const { kid } = key;
  if (typeof kid !== 'string' || kid === '') throw fault(`${field}.kid`, 'is missing');
  return new JwtAuthority(kid, info.spki);
}

function readCount(value: unknown, field: string): bigint | undefined {
  if (value === undefined) return undefined;
  const count = typeof value === 'bigint' ? value : Number.isSafeInteger(value) ? BigInt(Number(value)) : -1n;
  if (count < 0n || count > MAX_SEQUENCE) throw fault(field, 'is no whole number of 64 bits');
  return count;
}

function fault(field: string, message: string): IdentityError {
  return new IdentityError('invalid_argument', message, { field });
}

/** Which parts {@link formatBundleDocument} writes. */
export interface BundleDocumentOptions {
  /** The SVID types whose keys are written; all unless given. */
  readonly include?: readonly ('x509' | 'jwt' | 'wit')[];
  /** Leaves out `use`, `spiffe_sequence` and `spiffe_refresh_hint`: a plain JWK set, as the Workload API's JWT bundles and OIDC want it. */
  readonly standardJwks?: boolean;
}

/**
 * Writes a SPIFFE bundle document (Trust Domain and Bundle §4, X509-SVID §6.1, JWT-SVID §6.1, WIT-SVID §6.1).
 *
 * @returns JSON
 */
export function formatBundleDocument(bundle: Bundle, options: BundleDocumentOptions = {}): string {
  const { include = ['x509', 'jwt', 'wit'], standardJwks = false } = options;
  const use = (name: string): { readonly use?: string } => (standardJwks ? {} : { use: name });
  const tokenKeys = (authorities: ReadonlyMap<string, JwtAuthority>, name: string): readonly JsonObject[] =>
    [...authorities.values()].map(({ keyId, publicKey }) => ({ ...formatJwk(publicKey), kid: keyId, ...use(name) }));
  const keys: readonly JsonObject[] = [
    ...(include.includes('x509') ? bundle.x509Authorities.map((each) => ({ ...x509Key(each), ...use('x509-svid') })) : []),
    ...(include.includes('jwt') ? tokenKeys(bundle.jwtAuthorities, 'jwt-svid') : []),
    ...(include.includes('wit') ? tokenKeys(bundle.witAuthorities, 'wit-svid') : []),
  ];
  const { sequenceNumber, refreshHintSeconds } = bundle;
  const parts = [`"keys":${JSON.stringify(keys)}`];
  if (!standardJwks && sequenceNumber !== undefined) parts.push(`"spiffe_sequence":${sequenceNumber}`);
  if (!standardJwks && refreshHintSeconds !== undefined) parts.push(`"spiffe_refresh_hint":${refreshHintSeconds}`);
  return `{${parts.join(',')}}`;
}

function x509Key({ certificate, der }: X509Authority): JsonObject {
  return { ...formatJwk(certificate.publicKey()), x5c: [Buffer.from(der).toString('base64')] };
}
