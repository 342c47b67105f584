import { isDeepStrictEqual } from 'node:util';
import * as fc from 'fast-check';
import { compile } from '../../../policy/compile/snapshot.ts';
import { decide } from '../../../policy/decide.ts';
import type { Expressions } from '../../../policy/expressions/expressions.ts';
import type { Call, Decision, DefaultAction } from '../../../policy/model.ts';
import type { Policy } from '../../../policy/policy.ts';
import { decideNaively } from './naive.ts';
import type { Answer } from './naive.ts';
import { call, policies } from './random.ts';

/** What was seen while both evaluators were compared. */
export interface Agreement {
  readonly compared: number;
  /** How often each reason occurred. */
  readonly reasons: ReadonlyMap<string, number>;
}

interface Sample {
  readonly given: readonly Policy[];
  readonly calls: readonly Call[];
  readonly defaultAction: DefaultAction;
}

const CALLS_EACH = 100;
const samples: fc.Arbitrary<Sample> = fc.record({
  given: policies,
  calls: fc.array(call, { minLength: CALLS_EACH, maxLength: CALLS_EACH }),
  defaultAction: fc.constantFrom('audit', 'allow', 'deny'),
});

/** Compares the engine and the naive evaluator over so many random calls. Throws, with an example, where they differ. */
export function compareEvaluators(count: number, expressions: Expressions): Agreement {
  const reasons = new Map<string, number>();
  let compared = 0;
  const judge = ({ given, calls, defaultAction }: Sample): void => {
    const snapshot = compile(given, { defaultAction, expressions });
    for (const each of calls) {
      const decision = answerOf(decide(snapshot, each));
      const naive = decideNaively(given, each, defaultAction);
      if (!isDeepStrictEqual(decision, naive)) {
        throw new Error(`${textOf(decision)} is not ${textOf(naive)}\n${textOf(each)}\n${given.map(textOf).join('\n')}`);
      }
      reasons.set(naive.reason, (reasons.get(naive.reason) ?? 0) + 1);
      compared += 1;
    }
  };
  const { failed, errorInstance, seed } = fc.check(fc.property(samples, judge), { numRuns: Math.ceil(count / CALLS_EACH) });
  if (failed) throw new Error(`the evaluators differ (seed ${seed})`, { cause: errorInstance });
  return { compared, reasons };
}

const textOf = (value: unknown): string => JSON.stringify(sorted(value));

function answerOf({ pending: _pending, dryRun, ...rest }: Decision): Answer {
  return { ...rest, ...(dryRun === undefined ? {} : { dryRun: answerOf(dryRun) }) };
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value instanceof Map || value instanceof Set) return [...value];
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return value;
  return Object.fromEntries(
    Object.entries(value)
      .sort(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}
