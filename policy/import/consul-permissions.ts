import { array, boolean, literal, object, optional, string } from '../../core/decode.ts';
import type { Decoded } from '../../core/decode.ts';
import { anything } from './foreign.ts';
import type { Lose } from './foreign.ts';
import { escaped, path as pathValue } from './istio-values.ts';

const headerMatch = object({
  name: string(),
  present: optional(boolean, false),
  exact: optional(string()),
  prefix: optional(string()),
  suffix: optional(string()),
  contains: optional(string()),
  regex: optional(string()),
  invert: optional(boolean, false),
  ignoreCase: optional(boolean, false),
});
const http = object({
  pathExact: optional(string({ allowEmpty: true }), ''),
  pathPrefix: optional(string({ allowEmpty: true }), ''),
  pathRegex: optional(string({ allowEmpty: true }), ''),
  methods: optional(array(string()), []),
  header: optional(array(headerMatch), []),
});

/** A permission of an intention. */
export const permission = object({ action: literal('allow', 'deny'), http: optional(http), jwt: anything });

type Permission = Decoded<typeof permission>;
type Http = Decoded<typeof http>;

interface Operation {
  readonly paths?: readonly object[];
  readonly methods?: readonly string[];
  readonly headers?: readonly object[];
  readonly not?: Operation;
}

/**
 * Alternatives of `to` that a list of permissions allows. The first that matches decides, and nothing is allowed where none does: what
 * comes before an allowed one and denies is excluded from it.
 */
export function operationsOf(permissions: readonly Permission[], field: string, lose: Lose): readonly object[] {
  const denied: Operation[] = [];
  const operations: object[] = [];
  for (const [index, { action, http: match, jwt }] of permissions.entries()) {
    const place = `${field}[${index}]`;
    if (action === 'deny') {
      const operation = operationOf(match, true);
      if (operation === undefined || Object.keys(operation).length === 0) {
        if (match !== undefined && index + 1 < permissions.length)
          lose(place, 'rule dropped', 'it cannot be said what it denies: nothing after it is carried over');
        return operations;
      }
      if (operation.not !== undefined) {
        lose(place, 'rule dropped', 'it denies what lacks a header: nothing after it is carried over');
        return operations;
      }
      if (Object.keys(operation).length > 1 || (operation.headers ?? []).length > 1)
        lose(place, 'allows less', 'each of its fields alone is kept from what comes after it');
      denied.push(operation);
      continue;
    }
    const operation = jwt === undefined ? operationOf(match, false) : undefined;
    if (operation === undefined) lose(place, 'rule dropped', jwt === undefined ? 'it cannot be said' : 'it asks for a token');
    else operations.push({ ...operation, ...exclusion(operation, denied) });
  }
  return operations;
}

/** `not` of a clause: what the clause itself excludes, and what was denied before. */
function exclusion({ not }: Operation, denied: readonly Operation[]): { not?: Operation } {
  const all = [...(not === undefined ? [] : [not]), ...denied];
  if (all.length === 0) return {};
  const paths = all.flatMap((each) => each.paths ?? []);
  const methods = all.flatMap((each) => each.methods ?? []);
  const headers = all.flatMap((each) => each.headers ?? []);
  return {
    not: {
      ...(paths.length === 0 ? {} : { paths }),
      ...(methods.length === 0 ? {} : { methods }),
      ...(headers.length === 0 ? {} : { headers }),
    },
  };
}

/** Undefined where it cannot be said. `isWide`: rather more than less. */
function operationOf(match: Http | undefined, isWide: boolean): Operation | undefined {
  if (match === undefined) return {};
  const paths = pathsOf(match, isWide);
  if (paths?.length === 0) return isWide ? {} : undefined;
  const inverted = match.header.filter(({ invert }) => invert);
  // Envoy: of a header that is not there no inverted condition holds, but that it is not there.
  const expected = inverted.filter((each) => !isPresence(each)).map(({ name }) => ({ name, present: true }));
  const positive = [...match.header.filter(({ invert }) => !invert).map(headerOf), ...expected];
  const negative = inverted.map(headerOf);
  const methods = [...new Set(match.methods.map((each) => each.toUpperCase()))];
  return {
    ...(paths === undefined ? {} : { paths }),
    ...(methods.length === 0 ? {} : { methods }),
    ...(positive.length === 0 ? {} : { headers: positive }),
    ...(negative.length === 0 ? {} : { not: { headers: negative } }),
  };
}

/** Undefined: any path. Empty: none that can be said. */
function pathsOf({ pathExact, pathPrefix, pathRegex }: Http, isWide: boolean): readonly object[] | undefined {
  if (pathRegex !== '') return [{ regex: pathRegex }];
  if (pathExact !== '') return /[*{}]/.test(pathExact) ? [] : pathValue(pathExact, isWide).patterns;
  if (pathPrefix === '') return undefined;
  return /[*{}]/.test(pathPrefix) ? [] : pathValue(`${pathPrefix}*`, isWide).patterns;
}

function isPresence({ exact, prefix, suffix, contains, regex }: Decoded<typeof headerMatch>): boolean {
  return [exact, prefix, suffix, contains, regex].every((each) => each === undefined);
}

function headerOf({ name, exact, prefix, suffix, contains, regex, ignoreCase }: Decoded<typeof headerMatch>): object {
  if (regex !== undefined) return { name, regex };
  const found = [
    exact === undefined ? undefined : escaped(exact),
    prefix === undefined ? undefined : `${escaped(prefix)}.*`,
    suffix === undefined ? undefined : `.*${escaped(suffix)}`,
    contains === undefined ? undefined : `.*${escaped(contains)}.*`,
  ].find((each) => each !== undefined);
  if (found === undefined) return { name, present: true };
  return exact !== undefined && !ignoreCase ? { name, exact } : { name, regex: ignoreCase ? `(?i)${found}` : found };
}
