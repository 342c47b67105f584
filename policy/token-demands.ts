import { selectorTest } from './compile/target.ts';
import type { RequestAuthentication } from './resources/request-authentication.ts';
import type { RecordedCall } from './simulate.ts';

/** Whose tokens are accepted where, before a change and after it. */
export interface AuthenticationChange {
  readonly before: readonly RequestAuthentication[];
  readonly after: readonly RequestAuthentication[];
}

/** A change of RequestAuthentications. */
export interface AuthenticationEdit {
  readonly set: readonly RequestAuthentication[];
  readonly deleted: readonly { readonly namespace: string; readonly name: string }[];
}

/** What an edit makes of the RequestAuthentications that there are. */
export function withAuthentications(
  before: readonly RequestAuthentication[],
  { set, deleted }: AuthenticationEdit,
): AuthenticationChange {
  const gone = new Set([...set.map(({ meta }) => meta), ...deleted].map(keyOf));
  return { before, after: [...before.filter(({ meta }) => !gone.has(keyOf(meta))), ...set] };
}

function keyOf({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${namespace}/${name}`;
}

/**
 * Whether a change of RequestAuthentications may refuse a recorded request: nobody recorded which of them had a token, and whose. It may where a
 * token becomes required, and where one of an issuer, or for an audience, is not accepted any more.
 */
export class TokenDemands {
  readonly #before: ReadonlyMap<string, readonly RequestAuthentication[]>;
  readonly #after: ReadonlyMap<string, readonly RequestAuthentication[]>;

  constructor({ before, after }: AuthenticationChange) {
    const byNamespace = (all: readonly RequestAuthentication[]) => Map.groupBy(all, ({ meta }) => meta.namespace);
    this.#before = byNamespace(before);
    this.#after = byNamespace(after);
  }

  mayRefuse(recorded: RecordedCall): boolean {
    if (recorded.call.request === undefined) return false;
    const after = about(this.#after, recorded, recorded.lacksSelectors === true);
    // Where nobody authenticates, nobody is refused.
    if (after.length === 0) return false;
    const before = about(this.#before, recorded, false);
    const isRequired = (all: readonly RequestAuthentication[]): boolean => all.some(({ tokens }) => tokens === 'Required');
    if (isRequired(after) && !isRequired(before) && !isSame(this.#before, after, recorded)) return true;
    const accepted = new Set(after.flatMap(acceptedBy));
    return before.flatMap(acceptedBy).some((each) => !accepted.has(each));
  }
}

type ByNamespace = ReadonlyMap<string, readonly RequestAuthentication[]>;

/** `isPossible`: those that hang on selectors, which are not recorded, count too. */
function about(all: ByNamespace, { call: { destination } }: RecordedCall, isPossible: boolean): readonly RequestAuthentication[] {
  const inNamespace = all.get(destination.namespace ?? '') ?? [];
  return inNamespace.filter(({ selector }) => selector === undefined || isPossible || selectorTest(selector)(destination));
}

/** Whether those that require a token did so before, for the same pods. */
function isSame(before: ByNamespace, after: readonly RequestAuthentication[], { call }: RecordedCall): boolean {
  const text = ({ selector, tokens }: RequestAuthentication): string => JSON.stringify([selector, tokens]);
  const known = new Set((before.get(call.destination.namespace ?? '') ?? []).map(text));
  return after.filter(({ tokens }) => tokens === 'Required').every((each) => known.has(text(each)));
}

function acceptedBy({ issuers, headers }: RequestAuthentication): readonly string[] {
  return issuers.flatMap(({ issuer, audiences }) =>
    audiences.flatMap((audience) => headers.map((header) => JSON.stringify([issuer, audience, header.toLowerCase()]))),
  );
}
