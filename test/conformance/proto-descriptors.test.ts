// Compares our .proto files with the descriptors that the published Go modules register: names, numbers, types,
// cardinality, oneofs, enum values, methods and their streaming.
import { execFileSync } from 'node:child_process';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import type { DescEnum, DescField, DescFile, DescMessage, DescService, FileRegistry } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { beforeAll, describe, expect, test } from 'vitest';
import { file_csi_v1_csi } from '../../proto/gen/csi/v1/csi_pb.ts';
import { file_envoy_config_core_v3_address } from '../../proto/gen/envoy/config/core/v3/address_pb.ts';
import { file_envoy_config_core_v3_base } from '../../proto/gen/envoy/config/core/v3/base_pb.ts';
import { file_envoy_config_core_v3_extension } from '../../proto/gen/envoy/config/core/v3/extension_pb.ts';
import { file_envoy_config_core_v3_header } from '../../proto/gen/envoy/config/core/v3/header_pb.ts';
import { file_envoy_data_accesslog_v3_accesslog } from '../../proto/gen/envoy/data/accesslog/v3/accesslog_pb.ts';
import { file_envoy_extensions_transport_sockets_tls_v3_common } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/common_pb.ts';
import { file_envoy_extensions_transport_sockets_tls_v3_secret } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts';
import { file_envoy_extensions_transport_sockets_tls_v3_tls_spiffe_validator_config } from '../../proto/gen/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config_pb.ts';
import { file_envoy_service_accesslog_v3_als } from '../../proto/gen/envoy/service/accesslog/v3/als_pb.ts';
import { file_envoy_service_auth_v3_attribute_context } from '../../proto/gen/envoy/service/auth/v3/attribute_context_pb.ts';
import { file_envoy_service_auth_v3_external_auth } from '../../proto/gen/envoy/service/auth/v3/external_auth_pb.ts';
import { file_envoy_service_discovery_v3_discovery } from '../../proto/gen/envoy/service/discovery/v3/discovery_pb.ts';
import { file_envoy_service_secret_v3_sds } from '../../proto/gen/envoy/service/secret/v3/sds_pb.ts';
import { file_envoy_type_matcher_v3_regex } from '../../proto/gen/envoy/type/matcher/v3/regex_pb.ts';
import { file_envoy_type_matcher_v3_string } from '../../proto/gen/envoy/type/matcher/v3/string_pb.ts';
import { file_envoy_type_v3_http_status } from '../../proto/gen/envoy/type/v3/http_status_pb.ts';
import { file_envoy_type_v3_semantic_version } from '../../proto/gen/envoy/type/v3/semantic_version_pb.ts';
import { file_google_rpc_error_details } from '../../proto/gen/google/rpc/error_details_pb.ts';
import { file_google_rpc_status } from '../../proto/gen/google/rpc/status_pb.ts';
import { file_grpc_health_v1_health } from '../../proto/gen/grpc/health/v1/health_pb.ts';
import { file_grpc_reflection_v1_reflection } from '../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { file_grpc_reflection_v1alpha_reflection } from '../../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { file_pluginregistration_registration } from '../../proto/gen/pluginregistration/registration_pb.ts';
import { file_spiffe_workload_workload } from '../../proto/gen/spiffe/workload/workload_pb.ts';
import { file_spire_api_agent_debug_v1_debug } from '../../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import { file_spire_api_agent_delegatedidentity_v1_delegatedidentity } from '../../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { file_spire_api_agent_logger_v1_logger } from '../../proto/gen/spire/api/agent/logger/v1/logger_pb.ts';
import { file_spire_api_server_agent_v1_agent } from '../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { file_spire_api_server_bundle_v1_bundle } from '../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { file_spire_api_server_debug_v1_debug } from '../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { file_spire_api_server_entry_v1_entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { file_spire_api_server_localauthority_v1_localauthority } from '../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { file_spire_api_server_logger_v1_logger } from '../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { file_spire_api_server_svid_v1_svid } from '../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { file_spire_api_server_trustdomain_v1_trustdomain } from '../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';
import { goProgram, isInstalled } from '../support/toolchain.ts';

/** Held whole: nothing of the published descriptor may be missing here. Files these import come along. */
const complete = [
  file_grpc_health_v1_health,
  file_grpc_reflection_v1_reflection,
  file_grpc_reflection_v1alpha_reflection,
  file_google_rpc_status,
  file_pluginregistration_registration,
  file_spiffe_workload_workload,
  file_spire_api_agent_debug_v1_debug,
  file_spire_api_agent_delegatedidentity_v1_delegatedidentity,
  file_spire_api_agent_logger_v1_logger,
  file_spire_api_server_agent_v1_agent,
  file_spire_api_server_bundle_v1_bundle,
  file_spire_api_server_debug_v1_debug,
  file_spire_api_server_entry_v1_entry,
  file_spire_api_server_localauthority_v1_localauthority,
  file_spire_api_server_logger_v1_logger,
  file_spire_api_server_svid_v1_svid,
  file_spire_api_server_trustdomain_v1_trustdomain,
];

/** Held in part: what is here must agree with the published descriptor, which has more. */
const partial = [
  file_csi_v1_csi,
  file_google_rpc_error_details,
  file_envoy_config_core_v3_address,
  file_envoy_config_core_v3_base,
  file_envoy_config_core_v3_extension,
  file_envoy_config_core_v3_header,
  file_envoy_data_accesslog_v3_accesslog,
  file_envoy_extensions_transport_sockets_tls_v3_common,
  file_envoy_extensions_transport_sockets_tls_v3_secret,
  file_envoy_extensions_transport_sockets_tls_v3_tls_spiffe_validator_config,
  file_envoy_service_accesslog_v3_als,
  file_envoy_service_auth_v3_attribute_context,
  file_envoy_service_auth_v3_external_auth,
  file_envoy_service_discovery_v3_discovery,
  file_envoy_service_secret_v3_sds,
  file_envoy_type_matcher_v3_regex,
  file_envoy_type_matcher_v3_string,
  file_envoy_type_v3_http_status,
  file_envoy_type_v3_semantic_version,
];

/** Our own fields in published messages: each is named here, and numbered from 1000 on. SPIRE's clients skip them. */
const OWN_FIELDS = new Set([
  'spire.api.types.Entry #1000 countersign_jwt_claims: google.protobuf.Struct countersignJwtClaims',
  'spire.api.types.EntryMask #1000 countersign_jwt_claims: 8 countersignJwtClaims',
  'spire.api.types.Entry #1001 countersign_workload: countersign.node.v1.WorkloadMetadata countersignWorkload',
  'spire.api.types.EntryMask #1001 countersign_workload: 8 countersignWorkload',
]);

describe.skipIf(!isInstalled('go'))('wire contracts (needs go)', () => {
  let published: FileRegistry;

  beforeAll(async () => {
    const encoded = execFileSync(await goProgram('descriptors'), { maxBuffer: 64 << 20 });
    published = createFileRegistry(fromBinary(FileDescriptorSetSchema, encoded));
  });

  test.each(withImports(complete).map((file) => [file.name, file]))('%s is the published contract', (_name, file) => {
    const ours = linesOf(file);
    const theirs = ours.symbols.flatMap((symbol) => publishedLines(published, symbol));
    expect(ours.lines.filter((line) => !OWN_FIELDS.has(line))).toEqual(theirs);
    expect(ours.symbols).toEqual(publishedSymbols(published, file));
  });

  test.each(partial.map((file) => [file.name, file]))('%s agrees with the published contract', (_name, file) => {
    const ours = linesOf(file);
    const theirs = new Set(ours.symbols.flatMap((symbol) => publishedLines(published, symbol)));
    expect(ours.lines.filter((line) => !theirs.has(line))).toEqual([]);
  });
});

function withImports(files: readonly DescFile[]): DescFile[] {
  const all = new Set<DescFile>();
  const add = (file: DescFile): void => {
    if (file.proto.package === 'google.protobuf' || file.proto.package.startsWith('countersign.')) return;
    file.dependencies.forEach(add);
    all.add(file);
  };
  files.forEach(add);
  return [...all];
}

/** One comparable line for each fact of a file, with the symbols they belong to. */
function linesOf(file: DescFile): { symbols: string[]; lines: string[] } {
  const messages = allMessages(file.messages);
  const enums = [...file.enums, ...messages.flatMap((message) => message.nestedEnums)];
  const symbols = [...messages, ...enums, ...file.services].map((symbol) => symbol.typeName).sort();
  const lines = [...messages.map(messageLines), ...enums.map(enumLines), ...file.services.map(serviceLines)];
  return { symbols, lines: lines.flat().sort(bySymbol(symbols)) };
}

/** Symbols of the published files that hold what the file holds. */
function publishedSymbols(published: FileRegistry, file: DescFile): string[] {
  const found = new Set<DescFile>();
  for (const symbol of linesOf(file).symbols) {
    const descriptor = published.get(symbol);
    if (descriptor !== undefined && descriptor.kind !== 'extension') found.add(descriptor.file);
  }
  return [...found].flatMap((each) => linesOf(each).symbols).sort();
}

function publishedLines(published: FileRegistry, symbol: string): string[] {
  const lines = (): string[] => {
    const descriptor = published.get(symbol);
    if (descriptor?.kind === 'message') return messageLines(descriptor);
    if (descriptor?.kind === 'enum') return enumLines(descriptor);
    if (descriptor?.kind === 'service') return serviceLines(descriptor);
    return [];
  };
  return lines().sort();
}

function bySymbol(symbols: readonly string[]): (a: string, b: string) => number {
  const rank = (line: string): number => symbols.indexOf(line.slice(0, line.indexOf(' ')));
  return (a, b) => rank(a) - rank(b) || (a < b ? -1 : Number(a > b));
}

/** Entries of maps are messages too, but their facts are in the line of the map field. */
function allMessages(messages: readonly DescMessage[]): DescMessage[] {
  return messages
    .filter((message) => message.proto.options?.mapEntry !== true)
    .flatMap((message) => [message, ...allMessages(message.nestedMessages)]);
}

function messageLines(message: DescMessage): string[] {
  const reserved = [...message.proto.reservedRange.map(({ start, end }) => `${start}-${end}`), ...message.proto.reservedName];
  return [
    `${message.typeName} is a message${reserved.length > 0 ? ` reserving ${reserved.join(', ')}` : ''}`,
    ...message.fields.map((field) => `${message.typeName} #${field.number} ${field.name}: ${typeOf(field)}`),
  ];
}

function typeOf(field: DescField): string {
  const oneof = field.oneof === undefined ? '' : ` in oneof ${field.oneof.name}`;
  const optional = field.proto.proto3Optional ? 'optional ' : '';
  const deprecated = field.deprecated ? ' deprecated' : '';
  return `${optional}${labelOf(field)}${field.proto.jsonName}${oneof}${deprecated}`;
}

function labelOf(field: DescField): string {
  switch (field.fieldKind) {
    case 'map':
      return `map<${field.mapKey}, ${field.message?.typeName ?? field.enum?.typeName ?? field.scalar}> `;
    case 'list':
      return `repeated${field.packed ? ' packed' : ''} ${field.message?.typeName ?? field.enum?.typeName ?? field.scalar} `;
    default:
      return `${field.message?.typeName ?? field.enum?.typeName ?? field.scalar} `;
  }
}

function enumLines(descriptor: DescEnum): string[] {
  const values = descriptor.values.map((value) => `${descriptor.typeName} ${value.name} = ${value.number}`);
  return [`${descriptor.typeName} is an enum`, ...values];
}

function serviceLines(service: DescService): string[] {
  const methods = service.methods.map(
    (method) => `${service.typeName} ${method.name}(${method.input.typeName}) → ${method.output.typeName}, ${method.methodKind}`,
  );
  return [`${service.typeName} is a service`, ...methods];
}
