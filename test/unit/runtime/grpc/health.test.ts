import { create, toBinary } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { Current } from '../../../../core/current.ts';
import {
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
} from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { SpiffeWorkloadAPI } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { addHealth } from '../../../../runtime/grpc/health.ts';
import { framed, messagesOf, open, request, startPair, type Pair } from './raw-client.ts';

const CHECK = '/grpc.health.v1.Health/Check';
const LIST = '/grpc.health.v1.Health/List';
const WATCH = '/grpc.health.v1.Health/Watch';
const { SERVING, NOT_SERVING, SERVICE_UNKNOWN } = HealthCheckResponse_ServingStatus;

async function startHealth(serving: Current<boolean>): Promise<Pair<string>> {
  const pair = await startPair('me');
  pair.server.addService(SpiffeWorkloadAPI, {});
  addHealth(pair.server, serving);
  return pair;
}

describe('health', () => {
  it('checks the server and its services by name', async () => {
    const serving = new Current(true);
    await using pair = await startHealth(serving);
    for (const service of ['', 'SpiffeWorkloadAPI', 'grpc.health.v1.Health']) {
      const body = framed(HealthCheckRequestSchema, { service });
      serving.set(true);
      expect(messagesOf(HealthCheckResponseSchema, (await request(pair.session, CHECK, { body })).data)[0]?.status).toBe(SERVING);
      serving.set(false);
      expect(messagesOf(HealthCheckResponseSchema, (await request(pair.session, CHECK, { body })).data)[0]?.status).toBe(
        NOT_SERVING,
      );
    }
    const body = framed(HealthCheckRequestSchema, { service: 'no.Such' });
    expect((await request(pair.session, CHECK, { body })).trailers['grpc-status']).toBe('5');
  });

  it('lists all', async () => {
    await using pair = await startHealth(new Current(true));
    const { data } = await request(pair.session, LIST);
    const statuses = messagesOf(HealthListResponseSchema, data)[0]?.statuses ?? {};
    expect(Object.keys(statuses).sort()).toEqual(['', 'SpiffeWorkloadAPI', 'grpc.health.v1.Health']);
    expect(statuses['']?.status).toBe(SERVING);
  });

  it('watches each change', async () => {
    const serving = new Current(true);
    await using pair = await startHealth(serving);
    const stream = open(pair.session, WATCH);
    stream.end(framed(HealthCheckRequestSchema, { service: '' }));
    const seen: unknown[] = [];
    for await (const chunk of stream) {
      seen.push(...messagesOf(HealthCheckResponseSchema, chunk).map(({ status }) => status));
      if (seen.length === 4) break;
      serving.set(!serving.value);
    }
    expect(seen).toEqual([SERVING, NOT_SERVING, SERVING, NOT_SERVING]);
  });

  it('says of an unknown service that it is unknown, and stays open', async () => {
    await using pair = await startHealth(new Current(true));
    const stream = open(pair.session, WATCH);
    stream.end(framed(HealthCheckRequestSchema, { service: 'no.Such' }));
    const chunk = await new Promise<Buffer>((resolve) => stream.once('data', resolve));
    expect(chunk.subarray(5)).toEqual(
      Buffer.from(toBinary(HealthCheckResponseSchema, create(HealthCheckResponseSchema, { status: SERVICE_UNKNOWN }))),
    );
    await request(pair.session, CHECK);
    expect(stream.closed).toBe(false);
  });
});
