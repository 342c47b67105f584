import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Trust } from '../../../../proto/gen/countersign/admin/v1/trust_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { TestCa } from '../../../support/test-ca.ts';

describe('countersign.admin.v1.Trust', () => {
  let ca: RunningCa;
  beforeAll(async () => {
    ca = await RunningCa.start();
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  test('tells appended authorities from those that the CA signs with, and removes only the former', async () => {
    const trust = ca.local(Trust);
    const bundle = ca.local(Bundle);
    const foreign = TestCa.create({ trustDomain: 'example.org' });
    await bundle.appendBundle({ x509Authorities: [{ asn1: foreign.root.der }] });
    const { authorities } = await trust.listAuthorities({});
    const [appended, ...more] = authorities.filter((each) => each.appended);
    expect(more).toEqual([]);
    expect(appended).toMatchObject({ kind: 'x509', tainted: false });
    expect(Buffer.from(appended?.publicBytes ?? []).equals(foreign.root.der)).toBe(true);
    const own = authorities.find((each) => !each.appended);
    const both = [own, appended].map((each) => ({ kind: each?.kind ?? '', id: each?.id ?? '' }));
    expect(await failureOf(trust.removeAppendedAuthorities({ authorities: both }))).toMatchObject({
      code: 'failed_precondition',
    });
    await trust.removeAppendedAuthorities({ authorities: [{ kind: 'x509', id: appended?.id ?? '' }] });
    const after = await bundle.getBundle({});
    expect(after.x509Authorities.some(({ asn1 }) => Buffer.from(asn1).equals(foreign.root.der))).toBe(false);
    expect(after.x509Authorities.length).toBeGreaterThan(0);
  });

  test.each([
    [{ authorities: [] }, 'invalid_argument'],
    [{ authorities: [{ kind: 'x508', id: 'a' }] }, 'invalid_argument'],
    [{ authorities: [{ kind: 'jwt', id: 'nobody' }] }, 'not_found'],
  ])('refuses %j', async (request, code) => {
    expect(await failureOf(ca.local(Trust).removeAppendedAuthorities(request))).toMatchObject({ code });
  });
});
