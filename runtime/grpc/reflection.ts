import { ServerReflection } from '../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import type * as v1 from '../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ServerReflectionV1Alpha } from '../../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts';
import type * as v1alpha from '../../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { DescriptorIndex } from './descriptor-index.ts';
import type { GrpcServer } from './server.ts';

const NOT_FOUND = 5;

type Request = v1.ServerReflectionRequest | v1alpha.ServerReflectionRequest;

/**
 * Adds server reflection, `grpc.reflection.v1` and `v1alpha`: tools such as grpcurl learn from it what the server speaks. The
 * services are read at the first request, so those that are added later are found too.
 */
export function addReflection<P>(server: GrpcServer<P>): void {
  let index: DescriptorIndex | undefined;
  async function* answers<R extends Request>(requests: AsyncIterable<R>) {
    for await (const request of requests) {
      index ??= new DescriptorIndex(server.services);
      yield { validHost: request.host, originalRequest: request, messageResponse: answer(index, request) };
    }
  }
  server.addService(ServerReflection, { serverReflectionInfo: (requests) => answers(requests) });
  server.addService(ServerReflectionV1Alpha, { serverReflectionInfo: (requests) => answers(requests) });
}

function answer(index: DescriptorIndex, { messageRequest: asked }: Request) {
  switch (asked.case) {
    case 'listServices':
      return found('listServicesResponse', { service: index.serviceNames.map((name) => ({ name })) });
    case 'fileByFilename':
      return files(index.fileNamed(asked.value), asked.value);
    case 'fileContainingSymbol':
      return files(index.fileOf(asked.value), asked.value);
    case 'fileContainingExtension': {
      const { containingType, extensionNumber } = asked.value;
      return files(index.fileOfExtension(containingType, extensionNumber), `${containingType} ${extensionNumber}`);
    }
    case 'allExtensionNumbersOfType':
      return extensionNumbers(index, asked.value);
    default:
      return failure(3, 'the request asks for nothing that this server knows');
  }
}

function extensionNumbers(index: DescriptorIndex, name: string) {
  const numbers = index.extensionNumbers(name);
  if (numbers === undefined) return failure(NOT_FOUND, `${name.slice(0, 200)} is not known here`);
  return found('allExtensionNumbersResponse', { baseTypeName: name, extensionNumber: numbers });
}

function files(descriptors: Uint8Array[] | undefined, name: string) {
  if (descriptors === undefined) return failure(NOT_FOUND, `${name.slice(0, 200)} is not known here`);
  return found('fileDescriptorResponse', { fileDescriptorProto: descriptors });
}

function failure(errorCode: number, errorMessage: string) {
  return found('errorResponse', { errorCode, errorMessage });
}

function found<const C extends string, V>(name: C, value: V) {
  return { case: name, value };
}
