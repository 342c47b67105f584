import { IdentityError } from '../../core/errors.ts';
import type { DesiredEntry, EntryFields } from '../ports.ts';

/** The selectors in order, each once. */
export function normalizeSelectors(selectors: readonly string[]): readonly string[] {
  return [...new Set(selectors)].sort();
}

/** What makes an entry this one and no other, as one text. `selectors` are normalized. */
export function entryKey(entry: Pick<DesiredEntry, 'spiffeId' | 'parentId' | 'selectors'>): string {
  // Neither an ID nor a Kubernetes name holds a line break, and a selector of ours is never given one.
  return `${entry.spiffeId}\n${entry.parentId}\n${entry.selectors.join('\n')}`;
}

/** The selectors that an {@link entryKey} ends with, as one text. */
export function selectorsOfKey(key: string): string {
  return key.slice(key.indexOf('\n', key.indexOf('\n') + 1) + 1);
}

/**
 * Checks a selector such as `k8s:container-name:web`.
 *
 * @throws IdentityError `invalid_argument`, naming `field`
 */
export function checkSelector(text: string, field: string): string {
  const colon = text.indexOf(':');
  if (colon > 0 && colon < text.length - 1 && !text.includes('\n')) return text;
  throw new IdentityError('invalid_argument', `"${text}" is no selector; write type:value, such as k8s:container-name:web`, {
    field,
  });
}

/** The changeable fields as one text: equal texts mean that there is nothing to update. */
export function fieldsFingerprint(fields: EntryFields): string {
  const flags = `${fields.admin ? 'a' : ''}${fields.downstream ? 'd' : ''}${fields.storeSvid ? 's' : ''}`;
  return JSON.stringify([
    fields.x509SvidTtlSeconds,
    fields.jwtSvidTtlSeconds,
    flags,
    fields.hint,
    [...fields.federatesWith].sort(),
    [...fields.dnsNames].sort(),
    fields.jwtClaims === undefined || Object.keys(fields.jwtClaims).length === 0 ? 0 : ordered(fields.jwtClaims),
    ...(fields.workload === undefined ? [] : [fields.workload.namespace ?? '', fields.workload.serviceAccount ?? '']),
  ]);
}

/** JSON whose mappings are in the order of their keys. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, ordered(each)]));
}
