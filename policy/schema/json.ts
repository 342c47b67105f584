import { map, refine } from '../../core/decode.ts';
import type { Decoder, Fault } from '../../core/decode.ts';

/** A value of JSON. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** Deeper nesting serves no token, and whoever walks through the value may do so by recursion. */
const MAX_DEPTH = 16;

const anything: Decoder<unknown> = { read: (input) => input };

/** Any JSON that is not nested too deep. The API server does not judge the depth: the webhook does, with this. */
// The cast is sound: the faults are those of everything that is no JSON.
export const json: Decoder<Json> = map(
  refine(anything, (value) => faultsIn(value, '', 0)),
  (value) => value as Json,
);

function faultsIn(value: unknown, path: string, depth: number): readonly Fault[] {
  if (value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)) return [];
  if (typeof value !== 'object') return [{ path, message: 'is nothing that JSON has' }];
  if (depth === MAX_DEPTH) return [{ path, message: `must not be nested deeper than ${MAX_DEPTH} levels` }];
  if (Array.isArray(value)) return value.flatMap((item, index) => faultsIn(item, `${path}[${index}]`, depth + 1));
  return Object.entries(value).flatMap(([key, item]) => faultsIn(item, path === '' ? key : `${path}.${key}`, depth + 1));
}
