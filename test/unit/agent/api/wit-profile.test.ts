import { createPrivateKey } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';

import type { WITSVIDResponse } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { AgentRig, codeOf, headers } from '../../../support/agent-rig.ts';
import { ownUid } from '../../../support/stand-in-ca.ts';

let rig: AgentRig;
afterEach(() => rig[Symbol.asyncDispose]());

const watch = (spiffeId = ''): AsyncIterator<WITSVIDResponse> =>
  rig.workload.fetchWITSVID({ spiffeId }, { headers })[Symbol.asyncIterator]();

test('[Workload API §7.2.1] FetchWITSVID answers token, private key as JWK and hint for each identity', async () => {
  rig = await (
    await AgentRig.start({
      prepare: (ca) => ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2, more: { hint: 'b' } }),
    })
  ).ready();
  const { value } = await watch().next();
  const svids = (value as WITSVIDResponse).svids;
  expect(svids.map(({ spiffeId, hint }) => [spiffeId, hint])).toEqual([
    ['spiffe://example.org/web', ''],
    ['spiffe://example.org/b', 'b'],
  ]);
  const key = createPrivateKey({ key: JSON.parse(svids[0]?.witSvidKey ?? ''), format: 'jwk' });
  expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
});

test('[Workload API §7.2.1] FetchWITSVID answers for the identity that is asked for', async () => {
  rig = await (
    await AgentRig.start({ prepare: (ca) => ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 }) })
  ).ready();
  const { value } = await watch('spiffe://example.org/b').next();
  expect((value as WITSVIDResponse).svids.map(({ spiffeId }) => spiffeId)).toEqual(['spiffe://example.org/b']);
  expect(await codeOf(watch('spiffe://example.org/c').next())).toBe('permission_denied');
  expect(await codeOf(watch('example.org').next())).toBe('invalid_argument');
});

test('[Workload API §4.3, §7.2.1] pushes when an entry comes and at half life, and ends when the last goes', async () => {
  rig = await (await AgentRig.start()).ready();
  const stream = watch();
  const svids = async () => ((await stream.next()).value as WITSVIDResponse | undefined)?.svids ?? [];
  const [first] = await svids();
  rig.ca.put({ id: 'b', path: '/b', selectors: [ownUid], createdAt: 2 });
  const both = await svids();
  expect(both).toHaveLength(2);
  expect(both[0]?.witSvid).toBe(first?.witSvid);
  const next = svids();
  await rig.until(() => rig.ca.calls.filter((name) => name === 'BatchNewWITSVID').length >= 3, 5_000);
  expect((await next).map(({ witSvid }) => witSvid)).not.toEqual(both.map(({ witSvid }) => witSvid));
  rig.ca.remove('web', 'b');
  let code: string | undefined;
  while (code === undefined) code = await codeOf(stream.next());
  expect(code).toBe('permission_denied');
});
