import { describe, expect, test } from 'vitest';
import { ACCESS_TABLE, type Role } from '../../../../ca/api/access-table.ts';
import { Health } from '../../../../proto/gen/grpc/health/v1/health_pb.ts';
import { ServerReflection } from '../../../../proto/gen/grpc/reflection/v1/reflection_pb.ts';
import { ServerReflection as ReflectionAlpha } from '../../../../proto/gen/grpc/reflection/v1alpha/reflection_pb.ts';
import { Admin } from '../../../../proto/gen/countersign/admin/v1/admin_pb.ts';
import { Inspection } from '../../../../proto/gen/countersign/admin/v1/inspection_pb.ts';
import { Trust } from '../../../../proto/gen/countersign/admin/v1/trust_pb.ts';
import { Node } from '../../../../proto/gen/countersign/node/v1/node_pb.ts';
import { Policies, Recording } from '../../../../proto/gen/countersign/policy/v1/policy_pb.ts';
import { Agent } from '../../../../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../../../../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../../../../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../../../../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { SVID } from '../../../../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../../../../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';

const SERVICES = [
  Agent,
  Bundle,
  Debug,
  Entry,
  LocalAuthority,
  Logger,
  SVID,
  TrustDomain,
  Health,
  ServerReflection,
  ReflectionAlpha,
  Node,
  Admin,
  Inspection,
  Trust,
  Policies,
  Recording,
];
const METHODS = SERVICES.flatMap(({ typeName, methods }) => methods.map(({ name }) => `/${typeName}/${name}`));

describe('the access table', () => {
  test('has a row for each method that is served, and no other', () => {
    expect([...ACCESS_TABLE.keys()].toSorted()).toEqual(METHODS.toSorted());
  });

  test('lets anyone call three methods only', () => {
    expect(callableBy('anyone')).toEqual([
      '/spire.api.server.bundle.v1.Bundle/GetBundle',
      '/spire.api.server.agent.v1.Agent/AttestAgent',
      '/countersign.admin.v1.Admin/Login',
    ]);
  });

  test('lets a controller do no more than it needs', () => {
    expect(callableBy('controller')).toEqual([
      ...['CountBundles', 'ListFederatedBundles', 'GetFederatedBundle', 'BatchCreateFederatedBundle'].map(bundleMethod),
      ...['BatchUpdateFederatedBundle', 'BatchSetFederatedBundle', 'BatchDeleteFederatedBundle'].map(bundleMethod),
      ...['CountEntries', 'ListEntries', 'GetEntry', 'BatchCreateEntry', 'BatchUpdateEntry', 'BatchDeleteEntry'].map(
        (name) => `/spire.api.server.entry.v1.Entry/${name}`,
      ),
      ...TrustDomain.methods.map(({ name }) => `/spire.api.server.trustdomain.v1.TrustDomain/${name}`),
      ...Policies.methods.map(({ name }) => `/countersign.policy.v1.Policies/${name}`),
      '/countersign.admin.v1.Admin/SignPublicKey',
      '/countersign.admin.v1.Admin/WatchBundle',
    ]);
  });
});

const bundleMethod = (name: string): string => `/spire.api.server.bundle.v1.Bundle/${name}`;

function callableBy(role: Role): readonly string[] {
  return [...ACCESS_TABLE].filter(([, roles]) => roles.has(role)).map(([method]) => method);
}
