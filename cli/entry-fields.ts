import { create, type JsonObject, type MessageInitShape } from '@bufbuild/protobuf';

import { parseDuration } from '../core/duration.ts';
import { IdentityError } from '../core/errors.ts';
import { EntryMaskSchema, type Entry, type EntryMask, type EntrySchema } from '../proto/gen/spire/api/types/entry_pb.ts';
import type { SPIFFEIDSchema } from '../proto/gen/spire/api/types/spiffeid_pb.ts';
import { parseSpiffeId } from '../spiffe/spiffe-id.ts';
import type { Invocation } from './command.ts';
import { formatSeconds, formatValue, type Row } from './output.ts';

/** A SPIFFE ID as the APIs carry it. */
export function wireId(text: string): MessageInitShape<typeof SPIFFEIDSchema> {
  const id = parseSpiffeId(text);
  return { trustDomain: id.trustDomain.name, path: id.path };
}

/** The text of a SPIFFE ID that an API carries. */
export function formatWireId(id: { readonly trustDomain: string; readonly path: string } | undefined): string {
  return id === undefined ? '' : `spiffe://${id.trustDomain}${id.path}`;
}

/** A selector from `type:value`; the value may hold colons itself. */
export function parseSelector(text: string): { type: string; value: string } {
  const colon = text.indexOf(':');
  if (colon < 1 || colon === text.length - 1) {
    throw new IdentityError('invalid_argument', `"${text}" is no selector; write TYPE:VALUE, such as unix:uid:1000`);
  }
  return { type: text.slice(0, colon), value: text.slice(colon + 1) };
}

/** The longest lifetime that the APIs can carry. */
export const MAX_TTL_SECONDS = 2 ** 31 - 1;

/**
 * Seconds from `1800` or `30m`.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function parseTtlSeconds(text: string, field?: string): number {
  const seconds = /^\d+$/.test(text) ? Number(text) : parseDuration(text, field).ms / 1000;
  if (Number.isInteger(seconds) && seconds <= MAX_TTL_SECONDS) return seconds;
  throw new IdentityError(
    'invalid_argument',
    `"${text}" is no lifetime; write whole seconds, at most ${MAX_TTL_SECONDS}`,
    field === undefined ? {} : { field },
  );
}

/** The lifetime that an option names, if it was given. */
export function ttlOfOption(invocation: Invocation, name: string): number | undefined {
  return mapped(invocation.text(name), (text) => parseTtlSeconds(text, `--${name}`));
}

/**
 * Seconds since 1970 from `1999999999` or `2030-01-31T12:00:00Z`.
 *
 * @throws IdentityError `invalid_argument`
 */
export function parseTimeSeconds(text: string): bigint {
  const seconds = /^\d+$/.test(text) ? Number(text) : Date.parse(text) / 1000;
  if (!(seconds >= 0 && seconds <= Number.MAX_SAFE_INTEGER))
    throw new IdentityError('invalid_argument', `"${text}" is no time; write 2030-01-31T12:00:00Z or seconds since 1970`);
  return BigInt(Math.floor(seconds));
}

type EntryInit = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

/** The fields of an entry that the options name, and only those. */
export function entryOfOptions(invocation: Invocation): EntryInit {
  const given: Record<string, unknown> = {
    spiffeId: mapped(invocation.text('spiffe-id'), wireId),
    parentId: mapped(invocation.text('parent-id'), wireId),
    selectors: filled(invocation.texts('selector').map(parseSelector)),
    x509SvidTtl: ttlOfOption(invocation, 'x509-svid-ttl'),
    jwtSvidTtl: ttlOfOption(invocation, 'jwt-svid-ttl'),
    federatesWith: filled(invocation.texts('federates-with')),
    dnsNames: filled(invocation.texts('dns')),
    hint: invocation.text('hint'),
    admin: invocation.toggle('admin'),
    downstream: invocation.toggle('downstream'),
    storeSvid: invocation.toggle('store-svid'),
    additionalAttributes: attributesOfOptions(invocation),
    expiresAt: mapped(invocation.text('expires-at'), parseTimeSeconds),
    countersignJwtClaims: mapped(invocation.text('jwt-claims'), parseClaims),
    countersignWorkload: workloadOfOptions(invocation),
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** What policies know the workload by; replaced as a whole. */
function workloadOfOptions(invocation: Invocation): EntryInit['countersignWorkload'] {
  const [namespace, serviceAccount] = [invocation.text('namespace'), invocation.text('service-account')];
  if (namespace === undefined && serviceAccount === undefined) return undefined;
  return { namespace: namespace ?? '', serviceAccount: serviceAccount ?? '' };
}

/** What the API keeps in one message that is only replaced as a whole. */
function attributesOfOptions(invocation: Invocation): EntryInit['additionalAttributes'] {
  const disableX509SvidPrefetch = invocation.toggle('disable-x509-svid-prefetch');
  const jwtSvidIncludeJti = invocation.toggle('jwt-svid-include-jti');
  if (disableX509SvidPrefetch === undefined && jwtSvidIncludeJti === undefined) return undefined;
  return {
    ...(disableX509SvidPrefetch === undefined ? {} : { disableX509SvidPrefetch }),
    ...(jwtSvidIncludeJti === undefined ? {} : { jwtSvidIncludeJti }),
  };
}

/** Custom claims from a JSON object. @throws IdentityError `invalid_argument` */
function parseClaims(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    // The cast is sound: JSON.parse gives JSON, and this is an object.
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch {
    // Said below: what the parser would say quotes the text in parts.
  }
  throw new IdentityError('invalid_argument', 'must be a JSON object, such as {"team": "payments"}; {} removes them', {
    field: '--jwt-claims',
  });
}

/** The mask with exactly the fields that an entry names. */
export function maskOf(entry: EntryInit): EntryMask {
  return create(EntryMaskSchema, Object.fromEntries(Object.keys(entry).map((field) => [field, true])));
}

/** An entry as a table shows it. */
export function rowOfEntry(entry: Entry): Row {
  const { selectors, x509SvidTtl, jwtSvidTtl, dnsNames, createdAt, revision, ...rest } = recordOfEntry(entry);
  const { entryId, spiffeId, parentId, federatesWith, hint, ...flags } = rest;
  const lifetime = (seconds: Row[string]): string => (seconds === 0 ? 'default' : `${formatValue(seconds)}s`);
  return {
    entryId,
    spiffeId,
    parentId,
    selector: selectors,
    x509SvidTtl: lifetime(x509SvidTtl),
    jwtSvidTtl: lifetime(jwtSvidTtl),
    federatesWith,
    dns: dnsNames,
    hint,
    ...flags,
    createdAt,
    revision,
  };
}

/** An entry as JSON and YAML carry it; `entry create --data` reads it back. */
export function recordOfEntry(entry: Entry): Row {
  return {
    entryId: entry.id,
    spiffeId: formatWireId(entry.spiffeId),
    parentId: formatWireId(entry.parentId),
    selectors: entry.selectors.map(({ type, value }) => `${type}:${value}`),
    x509SvidTtl: entry.x509SvidTtl,
    jwtSvidTtl: entry.jwtSvidTtl,
    federatesWith: optionalList(entry.federatesWith),
    dnsNames: optionalList(entry.dnsNames),
    hint: entry.hint === '' ? undefined : entry.hint,
    admin: entry.admin || undefined,
    downstream: entry.downstream || undefined,
    storeSvid: entry.storeSvid || undefined,
    disableX509SvidPrefetch: entry.additionalAttributes?.disableX509SvidPrefetch || undefined,
    jwtSvidIncludeJti: entry.additionalAttributes?.jwtSvidIncludeJti || undefined,
    jwtClaims: entry.countersignJwtClaims,
    namespace: entry.countersignWorkload?.namespace || undefined,
    serviceAccount: entry.countersignWorkload?.serviceAccount || undefined,
    expiresAt: entry.expiresAt === 0n ? undefined : formatSeconds(entry.expiresAt),
    createdAt: formatSeconds(entry.createdAt),
    revision: Number(entry.revisionNumber),
  };
}

function optionalList(values: readonly string[]): readonly string[] | undefined {
  return values.length === 0 ? undefined : values;
}

function mapped<T, U>(value: T | undefined, convert: (value: T) => U): U | undefined {
  return value === undefined ? undefined : convert(value);
}

function filled<T>(values: readonly T[]): readonly T[] | undefined {
  return values.length === 0 ? undefined : values;
}
