import type { JsonMessage } from '../../support/spire-client.ts';
import { group, withBadIds } from './probe.ts';
import type { Probe } from './probe.ts';
import { id } from './world.ts';
import type { World } from './world.ts';

/** Agents, join tokens, attestation, renewal. */
export function agentProbes({ agentPath, csr }: World): Probe[] {
  const agentMethods = ['GetAgent', 'DeleteAgent', 'BanAgent'].flatMap((name) =>
    group({
      as: 'local',
      method: `agent.v1.Agent/${name}`,
      requests: {
        ...withBadIds((value) => ({ id: value })),
        'a workload ID': { id: id('/web') },
        'an agent that is not there': { id: id('/spire/agent/join_token/none') },
      },
    }),
  );
  const attest = (type: string, payload: string, request: string): JsonMessage => ({
    params: { data: { type, payload: Buffer.from(payload).toString('base64') }, params: { csr: request } },
  });
  return [
    ...agentMethods,
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/GetAgent',
      requests: { 'an agent': { id: id(agentPath) }, 'a mask': { id: id(agentPath), outputMask: { selectors: true } } },
    }),
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/ListAgents',
      requests: {
        'no filter': {},
        'a page token that is not one': { pageSize: 1, pageToken: 'nonsense' },
        'a negative page size': { pageSize: -1 },
        'by banned': { filter: { byBanned: true } },
        'by type': { filter: { byAttestationType: 'join_token' } },
        'by empty selectors': { filter: { bySelectorMatch: {} } },
        'by a selector without a type': { filter: { bySelectorMatch: { selectors: [{ value: 'x' }] } } },
        'by a time that is not one': { filter: { byExpiresBefore: 'tomorrow' } },
      },
    }),
    ...group({
      as: 'local',
      method: 'agent.v1.Agent/CreateJoinToken',
      requests: {
        'no lifetime': { token: 'x' },
        'a negative lifetime': { ttl: -1 },
        'a token of its own': { ttl: 60, token: 'probe-token' },
        'the same token again': { ttl: 60, token: 'probe-token' },
        'an ID': { ttl: 60, token: 'probe-token-with-id', agentId: id('/node') },
        'a foreign ID': { ttl: 60, agentId: { trustDomain: 'other.test', path: '/node' } },
        'a reserved ID': { ttl: 60, agentId: id('/spire/agent/x') },
      },
    }),
    ...group({
      as: 'anonymous',
      method: 'agent.v1.Agent/AttestAgent',
      requests: {
        'no data': { params: { params: { csr: csr.plain } } },
        'no parameters': { params: { data: { type: 'join_token', payload: 'eA==' } } },
        'no type': attest('', 'x', csr.plain),
        'no payload': attest('join_token', '', csr.plain),
        'no request': attest('join_token', 'probe-token', ''),
        'an unknown type': attest('unknown', 'x', csr.plain),
        'an unknown token': attest('join_token', 'unknown', csr.plain),
        'a request that is not one': attest('join_token', 'probe-token', csr.garbage),
        'a forged request': attest('join_token', 'probe-token', csr.tampered),
        'a response before any challenge': { challengeResponse: 'eA==' },
        'a token': attest('join_token', 'probe-token-with-id', csr.plain),
        'a used token': attest('join_token', 'probe-token-with-id', csr.plain),
      },
    }),
    ...group({
      as: 'agent',
      method: 'agent.v1.Agent/RenewAgent',
      requests: {
        'no request': { params: {} },
        'a request that is not one': { params: { csr: csr.garbage } },
        'a forged request': { params: { csr: csr.tampered } },
      },
    }),
    ...group({
      as: 'agent',
      method: 'agent.v1.Agent/PostStatus',
      requests: { 'a status': { currentBundleSerial: '1', agentVersion: '1' } },
    }),
  ];
}
