import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS_TABLE, type Role } from '../../../../ca/api/access-table.ts';
import { Admin } from '../../../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Node } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { connectGrpc, type GrpcConnection } from '../../../../runtime/grpc-client.ts';
import { systemClock } from '../../../../core/clock.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';
import { TestCa } from '../../../support/test-ca.ts';
import { createTestCsr } from '../../../support/test-csr.ts';
import { createTestKey } from '../../../support/test-keys.ts';

const SHARED: readonly DescService[] = [Agent, Bundle, Entry, LocalAuthority, SVID, TrustDomain, Node, Admin];
const LOCAL_ONLY: readonly DescService[] = [Debug, Logger, Health, ServerReflection];
const own = (path: string) => ({ trustDomain: 'example.org', path });

// Who calls, and as what the table knows it.
const CALLERS: Readonly<Record<string, readonly Role[]>> = {
  'a local admin': ['anyone', 'local'],
  'a configured admin': ['anyone', 'admin'],
  'a configured admin of another trust domain': ['anyone', 'admin'],
  'a registered admin': ['anyone', 'admin'],
  'an agent': ['anyone', 'agent'],
  'a downstream CA': ['anyone', 'downstream'],
  'a workload': ['anyone'],
  'a client without a certificate': ['anyone'],
};

let ca: RunningCa;
const connections = new Map<string, GrpcConnection>();

async function connectWorkload(path: string): Promise<GrpcConnection> {
  const key = createTestKey();
  const { svid } = await ca.local(SVID).mintX509SVID({ csr: createTestCsr({ key, uris: [`spiffe://example.org${path}`] }) });
  return ca.remote({ chain: svid?.certChain ?? [], key });
}

beforeAll(async () => {
  ca = await RunningCa.start({ yaml: 'admins: ["spiffe://example.org/ops", "spiffe://partner.example/ops"]' });
  const base = { parentId: own('/x'), selectors: [{ type: 'a', value: 'b' }] };
  await ca.local(Entry).batchCreateEntry({
    entries: [
      { ...base, spiffeId: own('/entry-admin'), admin: true },
      { ...base, spiffeId: own('/downstream'), downstream: true },
      { ...base, spiffeId: own('/workload') },
    ],
  });
  const partner = TestCa.create({ trustDomain: 'partner.example' });
  const x509Authorities = [{ asn1: partner.root.der }];
  await ca.local(Bundle).batchSetFederatedBundle({ bundle: [{ trustDomain: 'partner.example', x509Authorities }] });
  connections.set('a local admin', connectGrpc({ target: { kind: 'unix', path: ca.socket }, clock: systemClock }));
  connections.set('a configured admin', await connectWorkload('/ops'));
  connections.set('a configured admin of another trust domain', ca.remote(partner.issueX509Svid('/ops')));
  connections.set('a registered admin', await connectWorkload('/entry-admin'));
  connections.set('an agent', (await attestTestAgent(ca)).connection);
  connections.set('a downstream CA', await connectWorkload('/downstream'));
  connections.set('a workload', await connectWorkload('/workload'));
  connections.set('a client without a certificate', ca.remote());
});
afterAll(async () => {
  connections.get('a local admin')?.[Symbol.dispose]();
  await ca[Symbol.asyncDispose]();
});

async function call(connection: GrpcConnection, service: DescService, method: DescMethod): Promise<unknown> {
  // The cast is sound: a client has a method for each of the service's, of the shape that its kind tells.
  const client = connection.client(service) as unknown as Record<string, (request: unknown) => unknown>;
  async function* nothing() {}
  const streams = method.methodKind === 'bidi_streaming';
  const answer = client[method.localName]?.(streams ? nothing() : {});
  if (method.methodKind === 'unary') return answer;
  // The cast is sound: the other kinds answer with a stream.
  for await (const response of answer as AsyncIterable<unknown>) return response;
  return undefined;
}

describe.each(Object.entries(CALLERS))('%s', (name, roles) => {
  const rows = SHARED.flatMap((service) =>
    service.methods.map((method) => [`${service.typeName}/${method.name}`, service, method] as const),
  );
  test.each(rows)('[SPIRE authorization] %s', async (path, service, method) => {
    const allowed = roles.some((role) => ACCESS_TABLE.get(`/${path}`)?.has(role) ?? false);
    const { code, message } = await failureOf(call(connections.get(name) ?? ca.remote(), service, method));
    const denied = message === `authorization denied for method /${path}` && code === 'permission_denied';
    expect(denied).toBe(!allowed);
    expect(code).not.toMatch(/^(unauthenticated|unimplemented)$/);
  });

  const local = LOCAL_ONLY.flatMap((service) =>
    service.methods.map((method) => [`${service.typeName}/${method.name}`, service, method] as const),
  );
  test.each(local)('[SPIRE authorization] %s, on the private socket only', async (_path, service, method) => {
    const { code } = await failureOf(call(connections.get(name) ?? ca.remote(), service, method));
    expect(code === 'unimplemented').toBe(name !== 'a local admin');
  });
});
