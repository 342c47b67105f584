import type { JsonObject as WireJsonObject, MessageInitShape } from '@bufbuild/protobuf';
import type { Entry, EntryMaskSchema, EntrySchema } from '../../proto/gen/spire/api/types/entry_pb.ts';
import type { SPIFFEID } from '../../proto/gen/spire/api/types/spiffeid_pb.ts';
import { entryKey, fieldsFingerprint, normalizeSelectors } from '../identity/entry-key.ts';
import type { DesiredEntry, EntryFields } from '../ports.ts';

/** An entry of ours as it is at the CA: little is kept of it, because there may be very many. */
export interface ActualEntry {
  readonly id: string;
  /** As {@link entryKey} gives it. */
  readonly key: string;
  /** Of the fields that can change. */
  readonly fingerprint: string;
  readonly revision: bigint;
}

/** The fields that an update writes: those that we declare. What else an entry has, such as an expiry, stays. */
export const DECLARED_FIELDS: MessageInitShape<typeof EntryMaskSchema> = {
  x509SvidTtl: true,
  jwtSvidTtl: true,
  federatesWith: true,
  admin: true,
  downstream: true,
  dnsNames: true,
  hint: true,
  storeSvid: true,
  countersignJwtClaims: true,
  countersignWorkload: true,
};

/** What is read of an entry to know all of {@link ActualEntry}. */
export const READ_FIELDS: MessageInitShape<typeof EntryMaskSchema> = {
  ...DECLARED_FIELDS,
  spiffeId: true,
  parentId: true,
  selectors: true,
  revisionNumber: true,
};

/** An entry as the CA's API takes it. */
export function wireEntry(id: string, entry: DesiredEntry): MessageInitShape<typeof EntrySchema> {
  const { spiffeId, parentId, selectors } = entry;
  return {
    spiffeId: wireId(spiffeId),
    parentId: wireId(parentId),
    selectors: selectors.map(wireSelector),
    ...declared(id, entry),
  };
}

/** The changeable fields as an update takes them. */
export function wireFields(id: string, fields: EntryFields): MessageInitShape<typeof EntrySchema> {
  return declared(id, fields);
}

function declared(id: string, fields: EntryFields) {
  return {
    id,
    x509SvidTtl: fields.x509SvidTtlSeconds,
    jwtSvidTtl: fields.jwtSvidTtlSeconds,
    federatesWith: [...fields.federatesWith],
    admin: fields.admin,
    downstream: fields.downstream,
    dnsNames: [...fields.dnsNames],
    hint: fields.hint,
    storeSvid: fields.storeSvid,
    // The cast is sound: claims came from JSON. An empty mapping takes away those that there were.
    countersignJwtClaims: (fields.jwtClaims ?? {}) as WireJsonObject,
    // Without one an update takes away what there was.
    ...(fields.workload === undefined ? {} : { countersignWorkload: { ...fields.workload } }),
  };
}

/** What is kept of an entry that was read with {@link READ_FIELDS}. */
export function actualEntry(wire: Entry): ActualEntry {
  const selectors = normalizeSelectors(wire.selectors.map(({ type, value }) => `${type}:${value}`));
  const key = entryKey({ spiffeId: idText(wire.spiffeId), parentId: idText(wire.parentId), selectors });
  const fingerprint = fieldsFingerprint({
    x509SvidTtlSeconds: wire.x509SvidTtl,
    jwtSvidTtlSeconds: wire.jwtSvidTtl,
    federatesWith: wire.federatesWith,
    admin: wire.admin,
    downstream: wire.downstream,
    dnsNames: wire.dnsNames,
    hint: wire.hint,
    storeSvid: wire.storeSvid,
    jwtClaims: wire.countersignJwtClaims,
    workload: wire.countersignWorkload,
  });
  return { id: wire.id, key, fingerprint, revision: wire.revisionNumber };
}

const SCHEME = 'spiffe://';

function wireId(text: string): { trustDomain: string; path: string } {
  const slash = text.indexOf('/', SCHEME.length);
  const end = slash === -1 ? text.length : slash;
  return { trustDomain: text.slice(SCHEME.length, end), path: text.slice(end) };
}

function idText(id: SPIFFEID | undefined): string {
  return id === undefined ? '' : `${SCHEME}${id.trustDomain}${id.path}`;
}

function wireSelector(text: string): { type: string; value: string } {
  const colon = text.indexOf(':');
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
}
