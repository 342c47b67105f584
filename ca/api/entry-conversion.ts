import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import { IdentityError } from '../../core/errors.ts';
import type { Entry as ProtoEntry, EntryMask, EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { WorkloadMetadata } from '../../policy/workload-metadata.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import { parseCustomClaims } from '../issue/custom-claims.ts';
import { normalizeSelectors, type Entry, type EntryChange, type NewEntry, type Selector } from '../model.ts';
import { checkDnsName } from '../../spiffe/dns-name.ts';
import { idToProto, ownIdFromProto, trustDomainFromProto } from './id-conversion.ts';
import { selectorsFromProto, selectorsToProto } from './selector-conversion.ts';

const MAX_HINT_BYTES = 1024;
const MAX_ENTRY_ID_LENGTH = 255;
const ENTRY_ID = /^[A-Za-z0-9._-]*$/;
const MAX_SECONDS = BigInt(Number.MAX_SAFE_INTEGER);

type Changeable = keyof EntryChange;

// How each field is read. Those that an update's mask leaves out are neither read nor checked.
const READERS: { readonly [K in Changeable]: (proto: ProtoEntry, own: TrustDomain) => Entry[K] } = {
  spiffeId: (proto, own) => ownIdFromProto(proto.spiffeId, own, 'workload', 'spiffe_id'),
  parentId: (proto, own) => ownIdFromProto(proto.parentId, own, 'member', 'parent_id'),
  selectors: (proto) => readSelectors(proto),
  x509SvidTtlSeconds: (proto) => notNegative(proto.x509SvidTtl, 'x509_svid_ttl'),
  jwtSvidTtlSeconds: (proto) => notNegative(proto.jwtSvidTtl, 'jwt_svid_ttl'),
  federatesWith: (proto) => proto.federatesWith.map((name, index) => trustDomainFromProto(name, `federates_with[${index}]`)),
  admin: (proto) => proto.admin,
  downstream: (proto) => proto.downstream,
  expiresAtSeconds: (proto) => readExpiry(proto.expiresAt),
  dnsNames: (proto) => readDnsNames(proto.dnsNames),
  storeSvid: (proto) => proto.storeSvid,
  hint: (proto) => readHint(proto.hint),
  disableX509SvidPrefetch: (proto) => proto.additionalAttributes?.disableX509SvidPrefetch ?? false,
  jwtSvidIncludeJti: (proto) => proto.additionalAttributes?.jwtSvidIncludeJti ?? false,
  jwtClaims: (proto) => parseCustomClaims(proto.countersignJwtClaims ?? {}, 'countersign_jwt_claims'),
  workload: (proto) => readWorkload(proto.countersignWorkload),
};

/** Reads an entry that is to be made. @throws IdentityError `invalid_argument`, naming the field */
export function newEntryFromProto(proto: ProtoEntry, own: TrustDomain): NewEntry {
  const entry: NewEntry = {
    parentId: READERS.parentId(proto, own),
    spiffeId: READERS.spiffeId(proto, own),
    selectors: READERS.selectors(proto, own),
    x509SvidTtlSeconds: READERS.x509SvidTtlSeconds(proto, own),
    jwtSvidTtlSeconds: READERS.jwtSvidTtlSeconds(proto, own),
    federatesWith: READERS.federatesWith(proto, own),
    admin: proto.admin,
    downstream: proto.downstream,
    expiresAtSeconds: READERS.expiresAtSeconds(proto, own),
    dnsNames: READERS.dnsNames(proto, own),
    storeSvid: proto.storeSvid,
    hint: READERS.hint(proto, own),
    disableX509SvidPrefetch: READERS.disableX509SvidPrefetch(proto, own),
    jwtSvidIncludeJti: READERS.jwtSvidIncludeJti(proto, own),
    ...(proto.countersignJwtClaims === undefined ? {} : { jwtClaims: READERS.jwtClaims(proto, own) }),
    ...(proto.countersignWorkload === undefined ? {} : { workload: READERS.workload(proto, own) }),
  };
  checkStorable(entry);
  return proto.id === '' ? entry : { ...entry, id: readEntryId(proto.id) };
}

// Which fields of the model a field of the mask stands for.
const MASKED: {
  readonly [K in Exclude<keyof EntryMask, '$typeName' | '$unknown' | 'revisionNumber' | 'createdAt'>]: readonly Changeable[];
} = {
  spiffeId: ['spiffeId'],
  parentId: ['parentId'],
  selectors: ['selectors'],
  x509SvidTtl: ['x509SvidTtlSeconds'],
  jwtSvidTtl: ['jwtSvidTtlSeconds'],
  federatesWith: ['federatesWith'],
  admin: ['admin'],
  downstream: ['downstream'],
  expiresAt: ['expiresAtSeconds'],
  dnsNames: ['dnsNames'],
  storeSvid: ['storeSvid'],
  hint: ['hint'],
  additionalAttributes: ['disableX509SvidPrefetch', 'jwtSvidIncludeJti'],
  countersignJwtClaims: ['jwtClaims'],
  countersignWorkload: ['workload'],
};

/** Reads the fields of an update that its mask names, all without one. @throws IdentityError `invalid_argument`, naming the field */
export function entryChangeFromProto(proto: ProtoEntry, own: TrustDomain, mask: EntryMask | undefined): EntryChange {
  // The cast is sound: the keys of MASKED are fields of the mask.
  const named = (Object.keys(MASKED) as (keyof typeof MASKED)[]).filter((field) => mask?.[field] ?? isMeant(field, proto));
  const change = Object.fromEntries(named.flatMap((field) => MASKED[field]).map((field) => [field, READERS[field](proto, own)]));
  return change;
}

/** Whether an update without a mask is about a field: about all but ours, which a client of SPIRE's does not know and leaves out. */
function isMeant(field: keyof typeof MASKED, proto: ProtoEntry): boolean {
  if (field !== 'countersignJwtClaims' && field !== 'countersignWorkload') return true;
  return proto[field] !== undefined;
}

/**
 * What must hold between the fields of an entry.
 *
 * @throws IdentityError `invalid_argument`, naming the field
 */
export function checkStorable(entry: Pick<Entry, 'storeSvid' | 'selectors' | 'disableX509SvidPrefetch'>): void {
  if (!entry.storeSvid) return;
  if (entry.disableX509SvidPrefetch) {
    throw new IdentityError('invalid_argument', 'specifying cache behaviour is incompatible with storable SVIDs', {
      field: 'additional_attributes',
    });
  }
  if (entry.selectors.every(({ type }) => type === entry.selectors[0]?.type)) return;
  throw new IdentityError('invalid_argument', 'selector types must be the same when store SVID is enabled', {
    field: 'selectors',
  });
}

function readSelectors(proto: ProtoEntry): readonly Selector[] {
  if (proto.selectors.length === 0) throw new IdentityError('invalid_argument', 'selector list is empty', { field: 'selectors' });
  return normalizeSelectors(selectorsFromProto(proto.selectors));
}

const MAX_NAME_LENGTH = 253;

/** Undefined for one that says nothing. */
function readWorkload(proto: ProtoEntry['countersignWorkload']): WorkloadMetadata | undefined {
  const { namespace = '', serviceAccount = '' } = proto ?? {};
  for (const name of [namespace, serviceAccount]) {
    if (name.length <= MAX_NAME_LENGTH) continue;
    throw new IdentityError('invalid_argument', `a name has at most ${MAX_NAME_LENGTH} characters`, {
      field: 'countersign_workload',
    });
  }
  if (namespace === '' && serviceAccount === '') return undefined;
  return { ...(namespace === '' ? {} : { namespace }), ...(serviceAccount === '' ? {} : { serviceAccount }) };
}

function notNegative(seconds: number, field: string): number {
  if (seconds < 0) throw new IdentityError('invalid_argument', `must not be negative, is ${seconds}`, { field });
  return seconds;
}

function readExpiry(seconds: bigint): number {
  if (seconds >= 0n && seconds <= MAX_SECONDS) return Number(seconds);
  throw new IdentityError('invalid_argument', 'must be seconds since 1970, or 0 for never', { field: 'expires_at' });
}

function readDnsNames(names: readonly string[]): readonly string[] {
  names.forEach((name, index) => checkDnsName(name, `dns_names[${index}]`));
  // A certificate names each once; the first stays where it is.
  return [...new Set(names)];
}

function readHint(hint: string): string {
  if (Buffer.byteLength(hint) <= MAX_HINT_BYTES) return hint;
  throw new IdentityError('invalid_argument', `hint is too long, max length is ${MAX_HINT_BYTES} characters`, { field: 'hint' });
}

function readEntryId(id: string): string {
  if (id.length > MAX_ENTRY_ID_LENGTH) throw new IdentityError('invalid_argument', 'entry ID too long', { field: 'id' });
  if (!ENTRY_ID.test(id)) throw new IdentityError('invalid_argument', 'entry ID contains invalid characters', { field: 'id' });
  return id;
}

/** The fields of an entry's message that the mask names, all without one; the ID always. */
export function entryToProto(entry: Entry, mask?: EntryMask): MessageInitShape<typeof EntrySchema> {
  const proto: MessageInitShape<typeof EntrySchema> = { id: entry.id };
  const all = mask === undefined;
  if (all || mask.spiffeId) proto.spiffeId = idToProto(entry.spiffeId);
  if (all || mask.parentId) proto.parentId = idToProto(entry.parentId);
  if (all || mask.selectors) proto.selectors = selectorsToProto(entry.selectors);
  if (all || mask.x509SvidTtl) proto.x509SvidTtl = entry.x509SvidTtlSeconds;
  if (all || mask.jwtSvidTtl) proto.jwtSvidTtl = entry.jwtSvidTtlSeconds;
  if (all || mask.federatesWith) proto.federatesWith = entry.federatesWith.map(({ name }) => name);
  if (all || mask.admin) proto.admin = entry.admin;
  if (all || mask.downstream) proto.downstream = entry.downstream;
  if (all || mask.expiresAt) proto.expiresAt = BigInt(entry.expiresAtSeconds);
  if (all || mask.dnsNames) proto.dnsNames = [...entry.dnsNames];
  if (all || mask.revisionNumber) proto.revisionNumber = BigInt(entry.revisionNumber);
  if (all || mask.storeSvid) proto.storeSvid = entry.storeSvid;
  if (all || mask.hint) proto.hint = entry.hint;
  if (all || mask.createdAt) proto.createdAt = BigInt(entry.createdAtSeconds);
  if ((all || mask.additionalAttributes) && (entry.disableX509SvidPrefetch || entry.jwtSvidIncludeJti)) {
    const { disableX509SvidPrefetch, jwtSvidIncludeJti } = entry;
    proto.additionalAttributes = { disableX509SvidPrefetch, jwtSvidIncludeJti };
  }
  if ((all || mask.countersignWorkload) && entry.workload !== undefined) proto.countersignWorkload = entry.workload;
  if ((all || mask.countersignJwtClaims) && entry.jwtClaims !== undefined) {
    // The cast is sound: both are JSON, ours is only read.
    proto.countersignJwtClaims = entry.jwtClaims as JsonObject;
  }
  return proto;
}
