import type { MessageInitShape } from '@bufbuild/protobuf';

import { array, boolean, decode, integer, map, object, optional, string, type Decoder } from '../core/decode.ts';
import { IdentityError } from '../core/errors.ts';
import type { Entry, EntrySchema } from '../proto/gen/spire/api/types/entry_pb.ts';
import { parseSelector, parseTtlSeconds, wireId } from './entry-fields.ts';

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
    (typeof input === 'number' ? integer({ min: 0, max: 2 ** 31 - 1 }) : map(string(), parseTtlSeconds)).read(
      input,
      path,
      faults,
    ),
};

// Both the names of `spire-server entry create -data` and ours are read.
const entry = object({
  entry_id: optional(string()),
  spiffe_id: map(string(), wireId),
  parent_id: map(string(), wireId),
  selectors: array(selector),
  x509_svid_ttl: optional(ttlSeconds),
  jwt_svid_ttl: optional(ttlSeconds),
  federates_with: optional(array(string())),
  dns_names: optional(array(string())),
  hint: optional(string({ allowEmpty: true })),
  admin: optional(boolean),
  downstream: optional(boolean),
  store_svid: optional(boolean),
  entryExpiry: optional(integer({ min: 0 })),
  additional_attributes: optional(
    object({ disable_x509_svid_prefetch: optional(boolean), jwt_svid_include_jti: optional(boolean) }),
  ),
  // What `entry show -output json` prints besides; the CA sets these itself.
  revision_number: optional(integer()),
  created_at: optional(integer()),
});

const SNAKE_NAMES: Readonly<Record<string, string>> = {
  entryId: 'entry_id',
  id: 'entry_id',
  spiffeId: 'spiffe_id',
  parentId: 'parent_id',
  x509SvidTtl: 'x509_svid_ttl',
  jwtSvidTtl: 'jwt_svid_ttl',
  federatesWith: 'federates_with',
  dnsNames: 'dns_names',
  storeSvid: 'store_svid',
  expiresAt: 'entryExpiry',
  entry_expiry: 'entryExpiry',
};

/**
 * Reads a file of entries: `{entries: [{spiffe_id, parent_id, selectors, …}]}` as YAML or JSON.
 *
 * @throws IdentityError `invalid_argument` that lists every fault with its path
 */
export async function entriesOfFile(text: string, file: string): Promise<readonly EntryInit[]> {
  const { parse } = await import('../runtime/yaml.ts');
  const document: unknown = parse(text);
  const list = typeof document === 'object' && document !== null ? Reflect.get(document, 'entries') : undefined;
  const { entries } = decode(object({ entries: array(entry) }), {
    entries: Array.isArray(list) ? list.map(withSnakeNames) : list,
  });
  if (entries.length === 0) throw new IdentityError('invalid_argument', `${file} holds no entries; write {entries: [...]}`);
  return entries.map((each) => ({
    id: each.entry_id ?? '',
    spiffeId: each.spiffe_id,
    parentId: each.parent_id,
    selectors: [...each.selectors],
    x509SvidTtl: each.x509_svid_ttl ?? 0,
    jwtSvidTtl: each.jwt_svid_ttl ?? 0,
    federatesWith: [...(each.federates_with ?? [])],
    dnsNames: [...(each.dns_names ?? [])],
    hint: each.hint ?? '',
    admin: each.admin ?? false,
    downstream: each.downstream ?? false,
    storeSvid: each.store_svid ?? false,
    expiresAt: BigInt(each.entryExpiry ?? 0),
    additionalAttributes: {
      disableX509SvidPrefetch: each.additional_attributes?.disable_x509_svid_prefetch ?? false,
      jwtSvidIncludeJti: each.additional_attributes?.jwt_svid_include_jti ?? false,
    },
  }));
}

function withSnakeNames(input: unknown): unknown {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) return input;
  return Object.fromEntries(Object.entries(input).map(([name, value]) => [SNAKE_NAMES[name] ?? name, value]));
}
