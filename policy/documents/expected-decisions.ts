import { array, decode, integer, literal, object, optional, string } from '../../core/decode.ts';
import type { Call, Decision } from '../model.ts';
import { CALL_FIELDS, callOfParts } from './call-document.ts';

/** A call and what must be decided about it. */
export interface ExpectedDecision {
  readonly name: string | undefined;
  readonly call: Call;
  readonly expect: 'allow' | 'deny';
  /** `NAMESPACE/NAME`, or the name alone of a ClusterAuthorizationPolicy. */
  readonly policy: string | undefined;
  readonly rule: number | undefined;
  readonly reason: string | undefined;
}

const document = object({
  calls: array(
    object({
      ...CALL_FIELDS,
      name: optional(string()),
      expect: literal('allow', 'deny'),
      policy: optional(string()),
      rule: optional(integer({ min: 0 })),
      reason: optional(string()),
    }),
  ),
});

/**
 * Reads a file of expected decisions: `{ calls: [{ source, destination, request, user, expect, policy, rule, reason }] }`.
 *
 * @throws DecodeError that names every faulty field, such as `calls[2].expect`
 */
export function parseExpectedDecisions(input: unknown, atMs: number): readonly ExpectedDecision[] {
  return decode(document, input).calls.map(({ name, expect, policy, rule, reason, ...parts }) => ({
    name,
    call: callOfParts(parts, atMs),
    expect,
    policy,
    rule,
    reason,
  }));
}

/** What differs between what was decided and what was expected, in words; nothing where they agree. */
export function differences({ expect, policy, rule, reason }: ExpectedDecision, decision: Decision): readonly string[] {
  const found = decision.policy;
  const name = found === undefined ? 'none' : found.namespace === '' ? found.name : `${found.namespace}/${found.name}`;
  const compared: readonly (readonly [string, string | number | undefined, string | number])[] = [
    ['verdict', expect, decision.verdict],
    ['policy', policy, name],
    ['rule', rule, decision.rule ?? 'none'],
    ['reason', reason, decision.reason],
  ];
  return compared
    .filter(([, wanted, is]) => wanted !== undefined && wanted !== is)
    .map(([what, wanted, is]) => `${what} is ${is}, expected ${wanted}`);
}
