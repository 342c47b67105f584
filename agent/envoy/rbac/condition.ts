/** What a text has to be, in words that Envoy has. Regular expressions are RE2 and hold for the whole text. */
export type TextCondition =
  | { readonly exact: string; readonly ignoreCase?: boolean }
  | { readonly prefix: string; readonly ignoreCase?: boolean }
  | { readonly suffix: string; readonly ignoreCase?: boolean }
  | { readonly contains: string; readonly ignoreCase?: boolean }
  | { readonly regex: string };

/** A condition on a connection or a request, in words that Envoy has. */
export type Condition =
  | { readonly kind: 'constant'; readonly holds: boolean }
  | { readonly kind: 'all' | 'any'; readonly of: readonly Condition[] }
  | { readonly kind: 'not'; readonly of: Condition }
  /** The peer's certificate names this; never holds without one. */
  | { readonly kind: 'principal'; readonly text: TextCondition }
  /** The peer's address lies in this block. */
  | { readonly kind: 'address'; readonly prefix: string; readonly length: number }
  /** The port that was called, both ends inclusive. */
  | { readonly kind: 'port'; readonly first: number; readonly last: number }
  /** A header, or a pseudo-header, with this value, or any where none is given; never holds where there is no such header. */
  | { readonly kind: 'header'; readonly name: string; readonly text?: TextCondition }
  /** The path without query. */
  | { readonly kind: 'path'; readonly text: TextCondition };

export const ALWAYS: Condition = { kind: 'constant', holds: true };
export const NEVER: Condition = { kind: 'constant', holds: false };

/** Each of them must hold. */
export function all(...of: readonly Condition[]): Condition {
  return joined('all', of);
}

/** Any of them must hold. */
export function any(...of: readonly Condition[]): Condition {
  return joined('any', of);
}

function joined(kind: 'all' | 'any', of: readonly Condition[]): Condition {
  const neutral = kind === 'all';
  const parts = of.flatMap((each) => (each.kind === kind ? each.of : [each]));
  if (parts.some((each) => each.kind === 'constant' && each.holds !== neutral)) return neutral ? NEVER : ALWAYS;
  const rest = parts.filter((each) => each.kind !== 'constant');
  const [only, second] = rest;
  if (only === undefined) return neutral ? ALWAYS : NEVER;
  return second === undefined ? only : { kind, of: rest };
}

/** It must not hold. */
export function not(of: Condition): Condition {
  if (of.kind === 'constant') return of.holds ? NEVER : ALWAYS;
  return of.kind === 'not' ? of.of : { kind: 'not', of };
}

export function principal(text: TextCondition): Condition {
  return { kind: 'principal', text };
}

export function path(text: TextCondition): Condition {
  return { kind: 'path', text };
}

/** A header with this value, or any where none is given. Names are in lower case. */
export function header(name: string, text?: TextCondition): Condition {
  return { kind: 'header', name, ...(text === undefined ? {} : { text }) };
}

/** Whether the address of the peer is an IP address: it has none on a unix socket. */
export const HAS_ADDRESS: Condition = any(
  { kind: 'address', prefix: '0.0.0.0', length: 0 },
  { kind: 'address', prefix: '::', length: 0 },
);

/** Whether a port was called: there is none on a unix socket. */
export const HAS_PORT: Condition = { kind: 'port', first: 0, last: 65_535 };

/** A field of a rule: what matches it, and where that cannot be told. */
export interface Judgement {
  /** Holds wherever the field could be said to match. */
  readonly matches: Condition;
  /** Holds only where the field matches for certain; as `matches` unless given. */
  readonly certainly?: Condition;
  /** Nowhere unless given. */
  readonly unknown?: Condition;
  readonly isNegated: boolean;
  /** What it counts as where it cannot be told: false for ALLOW rules, true for DENY rules. */
  readonly bias: boolean;
}

/** The condition of a field: never wider than the rule says, wherever something cannot be told. */
export function judged({ matches, certainly = matches, unknown = NEVER, isNegated, bias }: Judgement): Condition {
  const wanted = isNegated ? not(bias ? certainly : matches) : bias ? matches : certainly;
  return bias ? any(unknown, wanted) : all(not(unknown), wanted);
}
