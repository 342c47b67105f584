import { parseSpiffeId } from '../../spiffe/spiffe-id.ts';
import type { SpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import type { Agent, NewEntry, Selector } from '../../ca/model.ts';

/** The trust domain of tests that have no reason for another. */
export const exampleOrg = parseTrustDomain('example.org');

/** An ID in example.org: `idAt('/web')`. */
export function idAt(path: string): SpiffeId {
  return parseSpiffeId(`spiffe://example.org${path}`);
}

/** Selectors from texts such as `unix:uid:1000`. */
export function selectorsOf(...texts: readonly string[]): readonly Selector[] {
  return texts.map((text) => ({ type: text.slice(0, text.indexOf(':')), value: text.slice(text.indexOf(':') + 1) }));
}

/** An entry to be made, complete but for what the test is about. */
export function newEntry(fields: Partial<NewEntry> = {}): NewEntry {
  return {
    spiffeId: idAt('/web'),
    parentId: idAt('/spire/agent/one'),
    selectors: selectorsOf('unix:uid:1000'),
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    federatesWith: [],
    admin: false,
    downstream: false,
    expiresAtSeconds: 0,
    dnsNames: [],
    storeSvid: false,
    hint: '',
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
    ...fields,
  };
}

/** An attested agent, complete but for what the test is about. */
export function newAgent(fields: Partial<Agent> = {}): Agent {
  return {
    id: idAt('/spire/agent/one'),
    attestationType: 'join_token',
    serialNumber: '1',
    expiresAtMs: Date.UTC(2027, 0, 1),
    nextSerialNumber: '',
    nextExpiresAtMs: 0,
    selectors: [],
    canReattest: false,
    banned: false,
    agentVersion: '',
    ...fields,
  };
}
