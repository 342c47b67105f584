import type { JsonMessage } from '../../support/spire-client.ts';
import { group, withBadIds } from './probe.ts';
import type { Probe } from './probe.ts';
import { id } from './world.ts';
import type { World } from './world.ts';

/** Registration entries. */
export function entryProbes({ agentPath }: World): Probe[] {
  const entry = (more: JsonMessage): JsonMessage => ({
    spiffeId: id('/probe'),
    parentId: id(agentPath),
    selectors: [{ type: 'unix', value: 'uid:4294967294' }],
    ...more,
  });
  const create = (more: JsonMessage): JsonMessage => ({ entries: [entry(more)] });
  const update = (more: JsonMessage, mask?: JsonMessage): JsonMessage => ({
    entries: [{ id: 'probe-web', ...more }],
    ...(mask === undefined ? {} : { inputMask: mask }),
  });
  const filters = (method: string): Probe[] =>
    group({
      as: 'local',
      method: `entry.v1.Entry/${method}`,
      requests: {
        ...withBadIds((value) => ({ filter: { bySpiffeId: value } })),
        'by an ID': { filter: { bySpiffeId: id('/web') } },
        'by a parent': { filter: { byParentId: id(agentPath) } },
        'by a foreign parent': { filter: { byParentId: { trustDomain: 'other.test', path: '/a' } } },
        'by no selectors': { filter: { bySelectors: {} } },
        'by a selector': {
          filter: { bySelectors: { match: 'MATCH_ANY', selectors: [{ type: 'unix', value: 'user:probe-web' }] } },
        },
        'by a selector without a type': { filter: { bySelectors: { selectors: [{ value: 'x' }] } } },
        'by a selector whose type has a colon': { filter: { bySelectors: { selectors: [{ type: 'a:b', value: 'x' }] } } },
        'by a selector without a value': { filter: { bySelectors: { selectors: [{ type: 'unix' }] } } },
        'by no trust domains': { filter: { byFederatesWith: {} } },
        'by a bad trust domain': { filter: { byFederatesWith: { trustDomains: ['not a domain'] } } },
        'by hint': { filter: { byHint: 'internal' } },
        'by downstream': { filter: { byDownstream: true } },
      },
    });
  return [
    ...filters('CountEntries'),
    ...filters('ListEntries'),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/ListEntries',
      requests: {
        'a page': { pageSize: 2, outputMask: { spiffeId: true } },
        'a page token that is not one': { pageSize: 2, pageToken: 'nonsense' },
        'a negative page size': { pageSize: -1, outputMask: {} },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/GetEntry',
      requests: {
        'an entry': { id: 'probe-web' },
        'a mask': { id: 'probe-web', outputMask: { hint: true } },
        'an unknown entry': { id: 'none' },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchCreateEntry',
      requests: {
        ...withBadIds((value) => create({ spiffeId: value })),
        'an empty entry': { entries: [{}] },
        'no parent': create({ parentId: undefined }),
        'a foreign parent': create({ parentId: { trustDomain: 'other.test', path: '/a' } }),
        'no selectors': create({ selectors: [] }),
        'a selector without a type': create({ selectors: [{ value: 'x' }] }),
        'a selector whose type has a colon': create({ selectors: [{ type: 'a:b', value: 'x' }] }),
        'a selector without a value': create({ selectors: [{ type: 'unix' }] }),
        'a reserved ID': create({ spiffeId: id('/spire/x') }),
        'a DNS name with an empty label': create({ dnsNames: ['a..example.org'] }),
        'a DNS name in upper case': create({ spiffeId: id('/upper'), dnsNames: ['A.example.org'] }),
        'a DNS name with two wildcards': create({ dnsNames: ['*.*.example.org'] }),
        'a DNS name with a wildcard': create({ spiffeId: id('/wild'), dnsNames: ['*.example.org'] }),
        'a bad DNS name': create({ spiffeId: id('/bad-dns'), dnsNames: ['not a name'] }),
        'an underscore in a DNS name': create({ spiffeId: id('/underscore'), dnsNames: ['a_b.example.org'] }),
        'a negative lifetime': create({ x509SvidTtl: -1 }),
        'a negative JWT lifetime': create({ jwtSvidTtl: -1 }),
        'an unknown federated trust domain': create({ spiffeId: id('/fed'), federatesWith: ['unknown.test'] }),
        'a bad federated trust domain': create({ federatesWith: ['not a domain'] }),
        'a bad entry ID': create({ id: 'no/slashes' }),
        'a very long entry ID': create({ id: 'x'.repeat(256) }),
        'a negative expiry': create({ spiffeId: id('/negative-expiry'), expiresAt: '-1' }),
        'an entry': create({ id: 'probe-created' }),
        'the same entry again': create({ id: 'probe-created-again' }),
        'an entry ID in use': create({ id: 'probe-created', spiffeId: id('/other') }),
        'one good and one bad': {
          entries: [entry({ spiffeId: id('/good'), id: 'probe-good' }), entry({ spiffeId: id('bad') })],
          outputMask: { spiffeId: true },
        },
        'a node alias': create({ id: 'probe-alias', spiffeId: id('/alias'), parentId: id('/spire/server') }),
        'all fields': create({
          id: 'probe-full',
          spiffeId: id('/full'),
          admin: true,
          downstream: true,
          storeSvid: false,
          hint: 'external',
          dnsNames: ['full.example.org'],
          x509SvidTtl: 60,
          jwtSvidTtl: 30,
          expiresAt: '4102444800',
          additionalAttributes: { disableX509SvidPrefetch: true, jwtSvidIncludeJti: true },
        }),
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchUpdateEntry',
      requests: {
        'an unknown entry': { entries: [entry({ id: 'none' })] },
        'no entry ID': { entries: [entry({})] },
        'one field': update({ hint: 'changed' }, { hint: true }),
        'an empty mask': update({ hint: 'ignored' }, {}),
        'no mask and missing fields': update({ hint: 'x' }),
        'a bad ID': update({ spiffeId: id('bad') }, { spiffeId: true }),
        'a reserved ID': update({ spiffeId: id('/spire/x') }, { spiffeId: true }),
        'no selectors': update({ selectors: [] }, { selectors: true }),
        'an unknown federated trust domain': update({ federatesWith: ['unknown.test'] }, { federatesWith: true }),
        'what another entry is': { entries: [{ ...entry({}), id: 'probe-web' }], outputMask: {} },
      },
    }),
    ...group({
      as: 'local',
      method: 'entry.v1.Entry/BatchDeleteEntry',
      requests: { 'known, unknown and empty': { ids: ['probe-created', 'none', ''] } },
    }),
    ...group({
      as: 'agent',
      method: 'entry.v1.Entry/GetAuthorizedEntries',
      requests: { 'a mask': { outputMask: { spiffeId: true, parentId: true, selectors: true } }, 'no mask': {} },
    }),
    ...group({
      as: 'agent',
      method: 'entry.v1.Entry/SyncAuthorizedEntries',
      requests: {
        'IDs in the first message': [{ ids: ['probe-web'] }],
        'no mask': [{}],
        'a wrong mask': [{ outputMask: { spiffeId: true } }],
        'an ID that is not authorized': [{}, { ids: ['probe-elsewhere'] }],
        'a mask in the second message': [{}, { outputMask: { spiffeId: true }, ids: ['probe-admin'] }],
      },
    }),
  ];
}
