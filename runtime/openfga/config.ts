import { decode, duration, integer, literal, map, object, optional, string, type Decoded } from '../../core/decode.ts';
import { IdentityError } from '../../core/errors.ts';
import { filePath } from '../config-file.ts';

/** The schema of a relation store that speaks OpenFGA's HTTP API. */
export function openFgaConfig(baseDir: string) {
  const cache = object({
    ttl: optional(duration, { ms: 10_000 }),
    maxEntries: optional(integer({ min: 1, max: 1_000_000 }), 10_000),
  });
  return object({
    url: map(string(), parseUrl),
    storeId: map(string(), parseId),
    modelId: optional(map(string(), parseId)),
    tokenFile: optional(filePath(baseDir)),
    caFile: optional(filePath(baseDir)),
    timeout: optional(duration, { ms: 500 }),
    consistency: optional(literal('minimizeLatency', 'higherConsistency'), 'minimizeLatency' as const),
    cache: optional(cache, decode(cache, {})),
  });
}

/** Which relation store is asked, and how. */
export type OpenFgaConfig = Decoded<ReturnType<typeof openFgaConfig>>;

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain = url?.username === '' && url.password === '' && url.search === '' && url.hash === '';
  if (url !== undefined && isPlain && ['http:', 'https:'].includes(url.protocol)) return url;
  throw new IdentityError('invalid_argument', 'must be an http:// or https:// URL without user, query and fragment');
}

/** Stores and models have ULIDs; whatever else it is, it must not change the path that it becomes part of. */
function parseId(text: string): string {
  if (/^[A-Za-z0-9_-]{1,64}$/.test(text)) return text;
  throw new IdentityError('invalid_argument', 'must be an ID as the relation store gives it, of letters and digits');
}
