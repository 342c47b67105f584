import type { JsonValue, MessageInitShape } from '@bufbuild/protobuf';

import { array, boolean, decode, integer, map, object, optional, record, string, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import type { Entry, EntrySchema } from '../proto/gen/spire/api/types/entry_pb.ts';
import { MAX_TTL_SECONDS, parseSelector, parseTimeSeconds, parseTtlSeconds, wireId } from './entry-fields.ts';

type EntryInit = Exclude<MessageInitShape<typeof EntrySchema>, Entry>;

/** A selector as `type:value` or as `{type, value}`. */
const selector: Decoder<{ type: string; value: string }> = {
  read: (input, path, faults) =>
    (typeof input === 'string' ? map(string(), parseSelector) : object({ type: string(), value: string() })).read(
      input,
      path,
      faults,
    ),
};

/** A lifetime as seconds or as text such as `30m`. */
const ttlSeconds: Decoder<number> = {
  read: (input, path, faults) =>
    (typeof input === 'number' ? integer({ min: 0, max: MAX_TTL_SECONDS }) : map(string(), (text) => parseTtlSeconds(text))).read(
      input,
      path,
      faults,
    ),
};

/** A time as seconds since 1970 or as RFC 3339. */
const timeSeconds: Decoder<bigint> = {
  read: (input, path, faults) =>
    (typeof input === 'number' ? map(integer({ min: 0 }), BigInt) : map(string(), parseTimeSeconds)).read(input, path, faults),
};

/** Any value: the file was YAML or JSON, and the CA checks the claims. */
const json: Decoder<JsonValue> = {
  // The cast is sound for JSON; of YAML, what JSON lacks (a date, a set) is refused when the request is written.
  read: (input) => input as JsonValue,
};

const ignored: Decoder<undefined> = { read: () => undefined };

const FIELDS = {
  entryId: optional(string()),
  spiffeId: map(string(), wireId),
  parentId: map(string(), wireId),
  selectors: array(selector),
  x509SvidTtl: optional(ttlSeconds),
  jwtSvidTtl: optional(ttlSeconds),
  federatesWith: optional(array(string())),
  dnsNames: optional(array(string())),
  hint: optional(string({ allowEmpty: true })),
  admin: optional(boolean),
  downstream: optional(boolean),
  storeSvid: optional(boolean),
  expiresAt: optional(timeSeconds),
  disableX509SvidPrefetch: optional(boolean),
  jwtSvidIncludeJti: optional(boolean),
  jwtClaims: optional(record(json)),
  namespace: optional(string()),
  serviceAccount: optional(string()),
  // What `entry show` prints besides; the CA sets these itself.
  createdAt: ignored,
  revision: ignored,
};
const entry = object(FIELDS);

const fold = (name: string): string => name.replaceAll(/[_-]/g, '').toLowerCase();

/** Each name that a field may have, folded: ours in any spelling, and what else `spire-server` and the options call it. */
const NAMES: ReadonlyMap<string, string> = new Map([
  ...Object.keys(FIELDS).map((name) => [fold(name), name] as const),
  ['id', 'entryId'],
  ['dns', 'dnsNames'],
  ['entryexpiry', 'expiresAt'],
  ['revisionnumber', 'revision'],
  ['countersignjwtclaims', 'jwtClaims'],
]);

/**
 * Reads a file of entries as YAML or JSON: `{entries: [{spiffeId, parentId, selectors, …}]}`, also with the names of
 * `spire-server entry create -data` (`spiffe_id`), or the list alone, as `entry show --output json` prints it.
 *
 * @throws IdentityError `invalid_argument` that lists every fault with its path
 */
export async function entriesOfFile(text: string, file: string): Promise<readonly EntryInit[]> {
  const document = await parseDocument(text, file);
  const list =
    typeof document === 'object' && document !== null && !Array.isArray(document) ? Reflect.get(document, 'entries') : document;
  const { entries } = decode(object({ entries: array(entry) }), {
    entries: Array.isArray(list) ? list.map(withOurNames) : list,
  });
  if (entries.length === 0) throw new IdentityError('invalid_argument', `${file} holds no entries; write {entries: [...]}`);
  return entries.map((each) => ({
    id: each.entryId ?? '',
    spiffeId: each.spiffeId,
    parentId: each.parentId,
    selectors: [...each.selectors],
    x509SvidTtl: each.x509SvidTtl ?? 0,
    jwtSvidTtl: each.jwtSvidTtl ?? 0,
    federatesWith: [...(each.federatesWith ?? [])],
    dnsNames: [...(each.dnsNames ?? [])],
    hint: each.hint ?? '',
    admin: each.admin ?? false,
    downstream: each.downstream ?? false,
    storeSvid: each.storeSvid ?? false,
    expiresAt: each.expiresAt ?? 0n,
    additionalAttributes: {
      disableX509SvidPrefetch: each.disableX509SvidPrefetch ?? false,
      jwtSvidIncludeJti: each.jwtSvidIncludeJti ?? false,
    },
    ...(each.jwtClaims === undefined ? {} : { countersignJwtClaims: each.jwtClaims }),
    ...workloadOf(each),
  }));
}

function workloadOf({
  namespace = '',
  serviceAccount = '',
}: {
  namespace?: string | undefined;
  serviceAccount?: string | undefined;
}) {
  return namespace === '' && serviceAccount === '' ? {} : { countersignWorkload: { namespace, serviceAccount } };
}

async function parseDocument(text: string, file: string): Promise<unknown> {
  const { parse } = await import('../runtime/yaml.ts');
  try {
    return parse(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('invalid_argument', `${file} is neither YAML nor JSON: ${why}`, { cause });
  }
}

/** Renames the fields of an entry as {@link FIELDS} has them; those of SPIRE's `additional_attributes` are fields as all others. */
function withOurNames(input: unknown): unknown {
  if (!isMapping(input)) return input;
  return Object.fromEntries(
    Object.entries(input).flatMap(([name, value]) =>
      fold(name) === 'additionalattributes' && isMapping(value) ? Object.entries(value).map(renamed) : [renamed([name, value])],
    ),
  );
}

function renamed([name, value]: readonly [string, unknown]): [string, unknown] {
  return [NAMES.get(fold(name)) ?? name, value];
}

function isMapping(input: unknown): input is object {
  return typeof input === 'object' && input !== null && !Array.isArray(input);
}
