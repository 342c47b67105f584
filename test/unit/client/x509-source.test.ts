import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';

import { WorkloadApi, X509Source } from '../../../client/index.ts';
import { IdentityError } from '../../../core/errors.ts';
import { X509SVIDResponseSchema } from '../../../proto/gen/spiffe/workload/workload_pb.ts';
import { StandInAgent, x509Response } from '../../support/stand-in-agent.ts';
import { TestCa } from '../../support/test-ca.ts';

const ca = TestCa.create();

describe('X509Source', () => {
  it('[Workload Endpoint §6] sends the security header', async () => {
    await using agent = await StandInAgent.start(x509Response(ca, ca.issueX509Svid('/web')));
    using api = new WorkloadApi({ address: agent.address });
    expect((await api.fetchX509Context()).svids[0].id.toString()).toBe('spiffe://example.org/web');
    expect(agent.securityHeaders).toEqual(['true']);
  });

  it('[Workload API §4.4] holds the newest context, whole, and tells of each', async () => {
    await using agent = await StandInAgent.start(x509Response(ca, ca.issueX509Svid('/web')));
    await using source = await X509Source.open({ address: agent.address });
    const first = source.value.svids[0].chain[0]?.serialHex;
    const next = ca.issueX509Svid('/web');
    const changed = new Promise((resolve) => source.subscribe(resolve));
    agent.x509.set(x509Response(ca, next));
    await changed;
    expect(source.value.svids[0].chain[0]?.serialHex).toBe(next.certificate.serialHex);
    expect(next.certificate.serialHex).not.toBe(first);
    expect(agent.fetches).toBe(1);
  });

  it('[Workload API §4.3] waits while the agent has no identity for it, and asks again', async () => {
    await using agent = await StandInAgent.start(new IdentityError('permission_denied', 'no identity issued'));
    const errors: string[] = [];
    const opening = X509Source.open({ address: agent.address, onError: ({ code }) => errors.push(code) });
    await expect.poll(() => errors.length, { timeout: 5000 }).toBeGreaterThan(0);
    agent.x509.set(x509Response(ca, ca.issueX509Svid('/late')));
    await using source = await opening;
    expect(source.value.svids[0].id.path).toBe('/late');
    expect(new Set(errors)).toEqual(new Set(['permission_denied']));
  });

  it('[Workload API §4.3] gives up on InvalidArgument', async () => {
    await using agent = await StandInAgent.start(new IdentityError('invalid_argument', 'security header missing from request'));
    await expect(X509Source.open({ address: agent.address })).rejects.toMatchObject({ code: 'invalid_argument' });
    expect(agent.fetches).toBe(1);
  });

  it('[Workload API §4.2] keeps the last context while the agent is away, and connects again', async () => {
    const agent = await StandInAgent.start(x509Response(ca, ca.issueX509Svid('/web')));
    const lost = Promise.withResolvers<void>();
    await using source = await X509Source.open({ address: agent.address, onError: () => lost.resolve() });
    await agent[Symbol.asyncDispose]();
    await lost.promise;
    expect(source.value.svids[0].id.path).toBe('/web');
  });

  it('stops waiting when the signal aborts', async () => {
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(X509Source.open({ address: 'unix:///nowhere/agent.sock', signal })).rejects.toThrow('enough');
  });

  it.each([
    ['no SVID', (message: ReturnType<typeof x509Response>) => ({ ...message, svids: [] })],
    ['a key of another SVID', (message: ReturnType<typeof x509Response>) => swapKey(message)],
    ['a broken chain', (message: ReturnType<typeof x509Response>) => edit(message, { x509Svid: new Uint8Array([0x30, 5]) })],
    ['a broken bundle', (message: ReturnType<typeof x509Response>) => edit(message, { bundle: new Uint8Array([1]) })],
  ] as const)('refuses a message with %s as a whole', async (_name, change) => {
    await using agent = await StandInAgent.start(
      create(X509SVIDResponseSchema, change(x509Response(ca, ca.issueX509Svid('/web')))),
    );
    using api = new WorkloadApi({ address: agent.address });
    await expect(api.fetchX509Context()).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it('names the standard variable when no agent is named', () => {
    expect(() => new WorkloadApi({ address: 'http://localhost:80' })).toThrow(
      expect.objectContaining({ code: 'invalid_argument', field: 'SPIFFE_ENDPOINT_SOCKET' }),
    );
  });
});

type Message = ReturnType<typeof x509Response>;

function edit(message: Message, change: Partial<Message['svids'][number]>): Message {
  const [svid] = message.svids;
  return create(X509SVIDResponseSchema, { ...message, svids: svid === undefined ? [] : [{ ...svid, ...change }] });
}

function swapKey(message: Message): Message {
  const other = ca.issueX509Svid('/other').key.privateKey.export({ type: 'pkcs8', format: 'der' });
  return edit(message, { x509SvidKey: other });
}
