import { fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, it } from 'vitest';
import {
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  type ServerReflectionResponse,
} from '../../../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { SpiffeWorkloadAPI } from '../../../../proto/gen/spiffe/workload/workload_pb.ts';
import { addReflection } from '../../../../runtime/grpc/reflection.ts';
import { framed, messagesOf, request, startPair } from './raw-client.ts';

type Question = MessageInitShape<typeof ServerReflectionRequestSchema>['messageRequest'];

// Both versions have the same messages but for their names.
async function ask(version: 'v1' | 'v1alpha', ...questions: Question[]): Promise<ServerReflectionResponse['messageResponse'][]> {
  await using pair = await startPair('me');
  pair.server.addService(SpiffeWorkloadAPI, {});
  addReflection(pair.server);
  const body = Buffer.concat(
    questions.map((messageRequest) =>
      framed(ServerReflectionRequestSchema, { host: 'h', ...(messageRequest && { messageRequest }) }),
    ),
  );
  const { data, trailers } = await request(pair.session, `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, {
    body,
  });
  expect(trailers['grpc-status']).toBe('0');
  return messagesOf(ServerReflectionResponseSchema, data).map((response, index) => {
    expect(response.validHost).toBe('h');
    expect(response.originalRequest?.messageRequest.case).toBe(questions[index]?.case);
    return response.messageResponse;
  });
}

function fileNames(response: ServerReflectionResponse['messageResponse'] | undefined): string[] {
  if (response?.case !== 'fileDescriptorResponse') return [];
  return response.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
}

describe.each(['v1', 'v1alpha'] as const)('reflection %s', (version) => {
  it('lists the services, itself included', async () => {
    const [list] = await ask(version, { case: 'listServices', value: '*' });
    expect(list?.value).toMatchObject({
      service: [
        { name: 'SpiffeWorkloadAPI' },
        { name: 'grpc.reflection.v1.ServerReflection' },
        { name: 'grpc.reflection.v1alpha.ServerReflection' },
      ],
    });
  });

  it('finds files with what they import, by every name', async () => {
    const workload = ['spiffe/workload/workload.proto', 'google/protobuf/struct.proto'];
    const answers = await ask(
      version,
      ...['SpiffeWorkloadAPI', 'SpiffeWorkloadAPI.FetchX509SVID', 'X509SVID', 'X509SVID.spiffe_id'].map(
        (value) => ({ case: 'fileContainingSymbol', value }) as const,
      ),
      { case: 'fileByFilename', value: 'spiffe/workload/workload.proto' },
      { case: 'fileContainingSymbol', value: 'google.protobuf.Struct' },
    );
    for (const answer of answers.slice(0, 5)) expect(fileNames(answer)).toEqual(workload);
    expect(fileNames(answers[5])).toEqual(['google/protobuf/struct.proto']);
  });

  it('answers what it does not know with an error, and goes on', async () => {
    const answers = await ask(
      version,
      { case: 'fileByFilename', value: 'no/such.proto' },
      { case: 'fileContainingSymbol', value: 'no.Such' },
      { case: 'fileContainingExtension', value: { containingType: 'X509SVID', extensionNumber: 1 } },
      { case: 'allExtensionNumbersOfType', value: 'no.Such' },
      undefined,
      { case: 'allExtensionNumbersOfType', value: 'X509SVID' },
    );
    expect(answers.slice(0, 5).map(({ value }) => value)).toMatchObject([5, 5, 5, 5, 3].map((errorCode) => ({ errorCode })));
    expect(answers[5]?.value).toMatchObject({ baseTypeName: 'X509SVID', extensionNumber: [] });
  });
});
