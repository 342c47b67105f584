import { createHash } from 'node:crypto';
import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import { selectorText } from '../model.ts';
import type { Entry, JwtClaims } from '../model.ts';
import { readSelectors, writeSelectors } from './selector-codec.ts';

/** An entry as JSON. What has its usual value is left out: 100,000 entries are read at start. */
interface StoredEntry {
  readonly spiffeId: string;
  readonly parentId: string;
  readonly selectors: readonly string[];
  readonly createdAtSeconds: number;
  readonly revisionNumber?: number;
  readonly x509SvidTtlSeconds?: number;
  readonly jwtSvidTtlSeconds?: number;
  readonly federatesWith?: readonly string[];
  readonly admin?: true;
  readonly downstream?: true;
  readonly expiresAtSeconds?: number;
  readonly dnsNames?: readonly string[];
  readonly storeSvid?: true;
  readonly hint?: string;
  readonly disableX509SvidPrefetch?: true;
  readonly jwtSvidIncludeJti?: true;
  readonly jwtClaims?: JwtClaims;
  readonly workload?: WorkloadMetadata;
}

/** An entry as what its JSON holds; its ID is the resource's name. */
export function encodeEntry(entry: Entry): StoredEntry {
  return {
    spiffeId: entry.spiffeId.toString(),
    parentId: entry.parentId.toString(),
    selectors: writeSelectors(entry.selectors),
    createdAtSeconds: entry.createdAtSeconds,
    ...(entry.revisionNumber === 0 ? {} : { revisionNumber: entry.revisionNumber }),
    ...(entry.x509SvidTtlSeconds === 0 ? {} : { x509SvidTtlSeconds: entry.x509SvidTtlSeconds }),
    ...(entry.jwtSvidTtlSeconds === 0 ? {} : { jwtSvidTtlSeconds: entry.jwtSvidTtlSeconds }),
    ...(entry.federatesWith.length === 0 ? {} : { federatesWith: entry.federatesWith.map(({ name }) => name) }),
    ...(entry.admin ? { admin: true } : {}),
    ...(entry.downstream ? { downstream: true } : {}),
    ...(entry.expiresAtSeconds === 0 ? {} : { expiresAtSeconds: entry.expiresAtSeconds }),
    ...(entry.dnsNames.length === 0 ? {} : { dnsNames: entry.dnsNames }),
    ...(entry.storeSvid ? { storeSvid: true } : {}),
    ...(entry.hint === '' ? {} : { hint: entry.hint }),
    ...(entry.disableX509SvidPrefetch ? { disableX509SvidPrefetch: true } : {}),
    ...(entry.jwtSvidIncludeJti ? { jwtSvidIncludeJti: true } : {}),
    ...(entry.jwtClaims === undefined ? {} : { jwtClaims: entry.jwtClaims }),
    ...(entry.workload === undefined ? {} : { workload: entry.workload }),
  };
}

const NONE: readonly never[] = [];

/** Reads what {@link encodeEntry} wrote. */
export function decodeEntry(id: string, json: string): Entry {
  // The cast is sound: encodeEntry wrote it.
  const stored = JSON.parse(json) as StoredEntry;
  return {
    id,
    spiffeId: parseSpiffeId(stored.spiffeId, 'spiffe_id'),
    parentId: parentOf(stored.parentId),
    selectors: readSelectors(stored.selectors),
    x509SvidTtlSeconds: stored.x509SvidTtlSeconds ?? 0,
    jwtSvidTtlSeconds: stored.jwtSvidTtlSeconds ?? 0,
    federatesWith: stored.federatesWith?.map((name) => parseTrustDomain(name)) ?? NONE,
    admin: stored.admin ?? false,
    downstream: stored.downstream ?? false,
    expiresAtSeconds: stored.expiresAtSeconds ?? 0,
    dnsNames: stored.dnsNames ?? NONE,
    revisionNumber: stored.revisionNumber ?? 0,
    storeSvid: stored.storeSvid ?? false,
    hint: stored.hint ?? '',
    createdAtSeconds: stored.createdAtSeconds,
    disableX509SvidPrefetch: stored.disableX509SvidPrefetch ?? false,
    jwtSvidIncludeJti: stored.jwtSvidIncludeJti ?? false,
    ...(stored.jwtClaims === undefined ? {} : { jwtClaims: stored.jwtClaims }),
    ...(stored.workload === undefined ? {} : { workload: stored.workload }),
  };
}

const MAX_PARENTS = 16_384;
const parents = new Map<string, SpiffeId>();

/** Entries have few parents: equal ones share an object. */
function parentOf(text: string): SpiffeId {
  const known = parents.get(text);
  if (known !== undefined) return known;
  const id = parseSpiffeId(text, 'parent_id');
  if (parents.size >= MAX_PARENTS) parents.clear();
  parents.set(text, id);
  return id;
}

/** Equal for entries that SPIRE calls similar: of the same SPIFFE ID, parent and selectors. */
export function similarKey({ spiffeId, parentId, selectors }: Pick<Entry, 'spiffeId' | 'parentId' | 'selectors'>): string {
  // Each text is preceded by its length, so that no two lists of texts are written alike.
  const texts = [spiffeId.toString(), parentId.toString(), ...selectors.map(selectorText)];
  const hash = createHash('sha256').update(texts.map((text) => `${text.length}:${text}`).join(''));
  return hash.digest('base64url').slice(0, 32);
}
