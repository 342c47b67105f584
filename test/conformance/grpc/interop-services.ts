import { create, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { sleep, systemClock } from '../../../core/clock.ts';
import { Current } from '../../../core/current.ts';
import type { Call } from '../../../runtime/grpc/call.ts';
import type { GrpcServer } from '../../../runtime/grpc/server.ts';
import { StatusError } from '../../../runtime/grpc/status.ts';
import type { EchoStatus, Payload, StreamingOutputCallRequest, TestOrcaReport } from './gen/grpc/testing/messages_pb.ts';
import { TestService } from './gen/grpc/testing/test_pb.ts';
import { OrcaLoadReportSchema } from './gen/xds/data/orca/v3/orca_load_report_pb.ts';
import { OpenRcaService } from './gen/xds/service/orca/v3/orca_pb.ts';

type LoadReport = MessageInitShape<typeof OrcaLoadReportSchema>;

/** Adds what the interop client expects of a server (interop-test-descriptions.md of the gRPC project). */
export function addInteropServices<P>(server: GrpcServer<P>): void {
  const load = new Current<LoadReport>({});
  server.addService(TestService, {
    emptyCall: () => ({}),
    unaryCall: ({ responseSize, responseStatus, orcaPerQueryReport }, call) => {
      echoMetadata(call);
      throwStatus(responseStatus);
      if (orcaPerQueryReport !== undefined) call.setTrailer('endpoint-load-metrics-bin', encodeReport(orcaPerQueryReport));
      return { payload: payloadOf(responseSize), serverId: 'only' };
    },
    cacheableUnaryCall: ({ responseSize }) => ({ payload: payloadOf(responseSize) }),
    streamingOutputCall: (request, call) => outputs(request, call),
    async streamingInputCall(requests) {
      const sizes = await Array.fromAsync(requests, ({ payload }) => sizeOf(payload));
      return { aggregatedPayloadSize: sizes.reduce((sum, size) => sum + size, 0) };
    },
    async *fullDuplexCall(requests, call) {
      echoMetadata(call);
      for await (const request of requests) {
        if (request.orcaOobReport !== undefined) load.set(reportOf(request.orcaOobReport));
        throwStatus(request.responseStatus);
        yield* outputs(request, call);
      }
    },
    async *halfDuplexCall(requests, call) {
      for (const request of await Array.fromAsync(requests)) yield* outputs(request, call);
    },
  });
  server.addService(OpenRcaService, { streamCoreMetrics: () => load });
}

async function* outputs({ responseParameters }: StreamingOutputCallRequest, call: Call<unknown>) {
  for (const { size, intervalUs } of responseParameters) {
    if (intervalUs > 0) await sleep(systemClock, intervalUs / 1000, call.signal);
    yield { payload: payloadOf(size) };
  }
}

function payloadOf(size: number): { body: Uint8Array } {
  return { body: new Uint8Array(size) };
}

function sizeOf(payload: Payload | undefined): number {
  return payload?.body.length ?? 0;
}

function throwStatus(status: EchoStatus | undefined): void {
  if (status !== undefined && status.code !== 0) throw new StatusError(status);
}

function echoMetadata(call: Call<unknown>): void {
  const initial = call.metadata.get('x-grpc-test-echo-initial');
  if (initial !== undefined) call.setHeader('x-grpc-test-echo-initial', initial);
  const trailing = call.metadata.getBinary('x-grpc-test-echo-trailing-bin');
  if (trailing !== undefined) call.setTrailer('x-grpc-test-echo-trailing-bin', trailing);
}

function reportOf({ cpuUtilization, memoryUtilization, requestCost, utilization }: TestOrcaReport): LoadReport {
  return { cpuUtilization, memUtilization: memoryUtilization, requestCost, utilization };
}

function encodeReport(report: TestOrcaReport): Uint8Array {
  return toBinary(OrcaLoadReportSchema, create(OrcaLoadReportSchema, reportOf(report)));
}
