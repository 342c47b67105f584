// For whom a call is decided, and that it is worked out once.
import { beforeEach, describe, expect, test } from 'vitest';
import { Destinations } from '../../../../agent/authz/destinations.ts';
import type { AgentEntry, WorkloadIdentities } from '../../../../agent/cache/identities.ts';
import { Current } from '../../../../core/current.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { agentEntry, ORDERS, selectorSet } from '../../../support/authorizer-rig.ts';
import { TestCa } from '../../../support/test-ca.ts';

const plain = selectorSet('unix:uid:1000');
let view: Current<WorkloadIdentities>;
let destinations: Destinations;

beforeEach(() => {
  const bundle = TestCa.create().bundle();
  view = new Current<WorkloadIdentities>({ identities: [], entries: [], pending: 0, bundle, federatedBundles: new Map() });
  destinations = new Destinations({ entitlementsOf: () => view });
});

function entitle(...entries: readonly AgentEntry[]): void {
  view.set({ ...view.value, entries });
}

test('is the only identity, or the one that is named', () => {
  expect(destinations.of(plain)).toBe('no_identity');
  entitle(agentEntry('a', '/orders'));
  expect(destinations.of(plain, undefined, 80)).toMatchObject({ spiffeId: ORDERS, namespace: 'shop', port: 80 });
  entitle(agentEntry('a', '/orders'), agentEntry('b', '/other', { namespace: 'b', serviceAccount: 'sa' }));
  expect(destinations.of(plain)).toBe('ambiguous_identity');
  expect(destinations.of(plain, parseSpiffeId('spiffe://example.org/other'))).toMatchObject({
    namespace: 'b',
    serviceAccount: 'sa',
  });
  expect(destinations.of(plain, parseSpiffeId('spiffe://example.org/third'))).toBe('no_identity');
});

describe('its namespace and service account', () => {
  const attested = selectorSet('k8s:ns:shop', 'k8s:sa:orders');

  test('are what the entries say, else what was attested', () => {
    entitle(agentEntry('a', '/orders', {}));
    expect(destinations.of(attested)).toMatchObject({ namespace: 'shop', serviceAccount: 'orders' });
    entitle(agentEntry('a', '/orders', {}), agentEntry('b', '/orders', { serviceAccount: 'orders' }));
    expect(destinations.of(plain)).toMatchObject({ serviceAccount: 'orders' });
    expect(destinations.of(plain)).not.toHaveProperty('namespace');
  });

  test.each([
    ['an entry and what was attested', [agentEntry('a', '/orders', { namespace: 'other' })]],
    ['service accounts', [agentEntry('a', '/orders', { serviceAccount: 'other' })]],
    ['two entries', [agentEntry('a', '/orders'), agentEntry('b', '/orders', { namespace: 'other' })]],
  ])('decide nothing where they contradict each other: %s', (_case, entries) => {
    entitle(...entries);
    expect(destinations.of(attested)).toBe('ambiguous_identity');
  });
});

describe('is one object', () => {
  test('for as long as the entries stay, also when SVIDs rotate', () => {
    entitle(agentEntry('a', '/orders'));
    const first = destinations.of(plain, ORDERS, 80);
    expect(destinations.of(plain, ORDERS, 80)).toBe(first);
    expect(destinations.of(plain, ORDERS, 81)).not.toBe(first);
    view.set({ ...view.value, entries: [...view.value.entries] });
    expect(destinations.of(plain, ORDERS, 80)).toBe(first);
    entitle(agentEntry('a', '/orders', { namespace: 'other' }));
    expect(destinations.of(plain, ORDERS, 80)).toMatchObject({ namespace: 'other' });
  });

  test('and those of many ports do not fill the memory', () => {
    entitle(agentEntry('a', '/orders'));
    const first = destinations.of(plain, ORDERS, 1);
    for (let port = 2; port <= 65; port++) destinations.of(plain, ORDERS, port);
    expect(destinations.of(plain, ORDERS, 1)).not.toBe(first);
    expect(destinations.of(plain, ORDERS, 1)).toEqual(first);
  });
});
