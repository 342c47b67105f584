import { IdentityError } from '../core/errors.ts';
import { parsePolicy } from './parse-policy.ts';
import type { Policy } from './policy.ts';
import { parseRequestAuthentication } from './resources/request-authentication.ts';
import type { RequestAuthentication } from './resources/request-authentication.ts';
import type { LabelSelector } from './schema/label-selector.ts';
import type { ResourceMeta } from './schema/resource-meta.ts';

/**
 * A policy as text that goes from process to process: JSON of the resource, its keys in order, so that equal policies are equal texts.
 * Beside the resource stand the namespaces that its selector was found to select. {@link decodePolicy} reads it back.
 *
 * @example
 * decodePolicy(encodePolicy(policy)); // the same policy
 */
export function encodePolicy({ name, meta, namespaces, selector, namespaceSelector, ...spec }: Policy): string {
  const written = { ...spec, selector: selectorOf(selector), namespaceSelector: selectorOf(namespaceSelector) };
  return JSON.stringify(inOrder({ resource: { kind: name.kind, metadata: metadataOf(meta), spec: written }, namespaces }));
}

/** A RequestAuthentication as text, in the same form. {@link decodeRequestAuthentication} reads it back. */
export function encodeRequestAuthentication({ meta, selector, ...spec }: RequestAuthentication): string {
  const written = { ...spec, selector: selectorOf(selector) };
  return JSON.stringify(inOrder({ resource: { kind: 'RequestAuthentication', metadata: metadataOf(meta), spec: written } }));
}

function metadataOf({ createdAtMs, deleting, ...metadata }: ResourceMeta): object {
  return {
    ...metadata,
    ...(createdAtMs === 0 ? {} : { creationTimestamp: new Date(createdAtMs).toISOString() }),
    ...(deleting ? { deletionTimestamp: new Date(createdAtMs).toISOString() } : {}),
  };
}

/** A selector may leave its labels out, not name none. */
function selectorOf(selector: LabelSelector | undefined): object | undefined {
  if (selector === undefined) return undefined;
  const { matchLabels, matchExpressions } = selector;
  return { ...(Object.keys(matchLabels).length === 0 ? {} : { matchLabels }), matchExpressions };
}

/**
 * Reads what {@link encodePolicy} wrote, as strictly as a resource from anywhere else.
 *
 * @throws IdentityError `invalid_argument`, a DecodeError for faults of the resource
 */
export function decodePolicy(text: string): Policy {
  const { resource, namespaces } = parseJson(text);
  const policy = parsePolicy(resource);
  if (namespaces === undefined) return policy;
  if (!Array.isArray(namespaces) || !namespaces.every((each) => typeof each === 'string')) {
    throw new IdentityError('invalid_argument', 'must be a list of names', { field: 'namespaces' });
  }
  return { ...policy, namespaces };
}

/**
 * Reads what {@link encodeRequestAuthentication} wrote, as strictly as a resource from anywhere else.
 *
 * @throws IdentityError `invalid_argument`, a DecodeError for faults of the resource
 */
export function decodeRequestAuthentication(text: string): RequestAuthentication {
  const { resource } = parseJson(text);
  // The cast is sound: whatever has no kind has none that is known.
  const { kind } = (resource ?? {}) as { kind?: unknown };
  if (kind === 'RequestAuthentication') return parseRequestAuthentication(resource);
  throw new IdentityError('invalid_argument', 'must be RequestAuthentication', { field: 'kind' });
}

function parseJson(text: string): { readonly resource?: unknown; readonly namespaces?: unknown } {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value;
  } catch (error) {
    throw new IdentityError('invalid_argument', 'is no JSON', { field: 'policy', cause: error });
  }
  throw new IdentityError('invalid_argument', 'must be an object', { field: 'policy' });
}

function inOrder(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(inOrder);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
  return Object.fromEntries(entries.map(([key, each]) => [key, inOrder(each)]));
}
