// Every RPC of the SPIRE server API, asked as the published implementation was: whoever calls, and with good and bad
// requests. What it answered is in `proto-answers/answers.json`; where this project differs, it says why.
import { beforeAll, describe, expect, test } from 'vitest';
import { RunningCa } from '../support/running-ca.ts';
import { isInstalled } from '../support/toolchain.ts';
import { answersOf } from './proto-answers/answer.ts';
import type { Answer, Answers } from './proto-answers/answer.ts';
import recorded from './proto-answers/answers.json' with { type: 'json' };
import { deviations } from './proto-answers/deviations.ts';

// The recording is what `answersOf` returned.
const published = recorded as Answers;

describe.skipIf(!isInstalled('go') || !isInstalled('openssl'))('SPIRE server API, answers (needs go and openssl)', () => {
  let answers: Answers = {};

  beforeAll(async () => {
    await using ca = await RunningCa.start();
    answers = await answersOf({ admin: `unix:${ca.socket}`, address: `127.0.0.1:${ca.ca.grpcPort}`, folder: ca.folder });
  });

  test.each(Object.keys(published))('%s', (probe) => {
    const deviation = deviations[probe];
    const expected = { ...published[probe], ...deviation?.answer };
    expect(outcomeOf(answers[probe])).toEqual(outcomeOf(expected));
    expect(missingFields(expected.fields, answers[probe]?.fields)).toEqual([]);
  });

  test('every deviation is of a probe that exists', () => {
    expect(Object.keys(deviations).filter((probe) => published[probe] === undefined)).toEqual([]);
  });
});

function outcomeOf(answer: Partial<Answer> | undefined): Partial<Answer> {
  return { code: answer?.code ?? 'none', items: answer?.items ?? [], details: answer?.details ?? [] };
}

/** A response may have more than the published implementation's; a client may rely on what that has. */
function missingFields(expected: readonly string[] = [], actual: readonly string[] = []): string[] {
  return expected.filter((field) => !actual.includes(field));
}
