import type { Call, CallField } from '../model.ts';
import { NO, UNKNOWN, YES } from './tri.ts';
import type { Bias, Test, Tri } from './tri.ts';

/**
 * Whether a value is what a field of a clause says; undefined where the call has no such value, `unclear` where it can be read in
 * several ways that do not agree.
 */
export type Matched = boolean | 'unclear' | undefined;

/** Compares what a call has with a field of a clause. */
export type Matcher = (call: Call) => Matched;

/** One field of a clause, such as `from[0].not.namespaces`. */
export interface Literal {
  /** Where it is written, below the rule. */
  readonly path: string;
  /** The part of a call that it is about. */
  readonly field: CallField;
  readonly test: Test;
}

/** What a literal is made of. */
export interface LiteralParts {
  readonly path: string;
  readonly field: CallField;
  readonly isNegated: boolean;
  readonly matches: Matcher;
  readonly bias: Bias;
}

/**
 * A literal. What the enforcement point cannot see and what can be read in two ways count as the bias says, and so does "is not" of a
 * value that is not there.
 */
export function literal({ path, field, isNegated, matches, bias }: LiteralParts): Literal {
  const isPlainlyUnseen = PLAINLY_UNSEEN[field];
  const judge = (call: Call): Tri => {
    if (call.unrecorded?.has(field)) return UNKNOWN;
    if (isPlainlyUnseen(call) || call.unseen?.has(field)) return bias;
    const matched = matches(call);
    if (matched === 'unclear') return bias;
    if (matched === undefined) return isNegated ? bias : NO;
    return matched === isNegated ? NO : YES;
  };
  return { path, field, test: judge };
}

/** Whether the enforcement point cannot see a field of this call. */
export function isUnseen(call: Call, field: CallField): boolean {
  return PLAINLY_UNSEEN[field](call) || (call.unseen?.has(field) ?? false);
}

const hasNoRequest = ({ request }: Call): boolean => request === undefined;
const never = (): boolean => false;

/** A call without a request is a connection; every call has an address and a port, whether they are told or not. */
const PLAINLY_UNSEEN: Readonly<Record<CallField, (call: Call) => boolean>> = {
  'source.spiffeId': never,
  'source.workload': never,
  'source.address': ({ source }) => source.address === undefined,
  'destination.port': ({ destination }) => destination.port === undefined,
  'request.method': hasNoRequest,
  'request.host': hasNoRequest,
  'request.path': hasNoRequest,
  'request.headers': hasNoRequest,
  'request.grpc': hasNoRequest,
  user: ({ request, user }) => request === undefined && user === undefined,
};
