import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { Node } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { Policies } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import type { GrpcConnection } from '../../../../runtime/grpc-client.ts';
import { ACCESS_TABLE } from '../../../../ca/api/access-table.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { hostileMessage, seededChoice } from '../../../support/hostile-messages.ts';
import { failureOf } from '../../../support/rpc-failure.ts';
import { RunningCa } from '../../../support/running-ca.ts';
import { attestTestAgent } from '../../../support/test-agent.ts';

const SERVICES: readonly DescService[] = [Agent, Bundle, Entry, LocalAuthority, SVID, TrustDomain, Logger, Debug, Node, Policies];
const ROUNDS = 25;

let ca: RunningCa;
let agent: GrpcConnection;
beforeAll(async () => {
  ca = await RunningCa.start();
  agent = (await attestTestAgent(ca)).connection;
});
afterAll(() => ca[Symbol.asyncDispose]());

async function call(service: DescService, method: DescMethod, request: unknown): Promise<unknown> {
  const isForAgents = ACCESS_TABLE.get(`/${service.typeName}/${method.name}`)?.has('agent') === true;
  // The cast is sound: a client has a method for each of the service's, of the shape that its kind tells.
  const client = (isForAgents ? agent.client(service) : ca.local(service)) as unknown as Record<
    string,
    (request: unknown) => unknown
  >;
  async function* once() {
    yield request;
  }
  const answer = client[method.localName]?.(method.methodKind === 'bidi_streaming' ? once() : request);
  if (method.methodKind === 'unary') return answer;
  // The cast is sound: the other kinds answer with a stream.
  for await (const response of answer as AsyncIterable<unknown>) return response;
  return undefined;
}

/** Fails too when an item of the answer did. */
async function callAndRead(service: DescService, method: DescMethod, request: unknown): Promise<void> {
  const answer = await call(service, method, request);
  const text = JSON.stringify(answer ?? {}, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  if (text.includes('internal error')) throw new IdentityError('internal', `internal error in ${text}`);
}

describe('hostile fields', () => {
  const rows = SERVICES.flatMap((service) =>
    service.methods.map((method) => [`${service.typeName}/${method.name}`, service, method] as const),
  );
  test.each(rows)('[bad input] %s answers with a status of its own and no more', async (_path, service, method) => {
    for (let seed = 0; seed < ROUNDS; seed += 1) {
      const request = hostileMessage(method.input, seededChoice(seed));
      const { code, message } = await failureOf(callAndRead(service, method, request));
      // This text stands for an exception that nobody foresaw.
      expect(`${code}: ${message}`).not.toMatch(/internal error|^[^o].*: $/);
    }
    expect((await ca.local(Health).check({})).status).toBe(Serving.SERVING);
  });
});
