// A stand-in of the agent's SVID cache for the APIs that read it: views whose value a test sets.
import { Current } from '../../core/current.ts';
import type { AgentEntry, IdentitySource, IdentityView, WorkloadIdentities, X509Identity } from '../../agent/cache/identities.ts';
import type { TestCa } from './test-ca.ts';

/** An X509-SVID of a test CA as the cache holds it. */
export function testIdentity(ca: TestCa, path: string, hint = ''): X509Identity {
  const { id, chain, key } = ca.issueX509Svid(path);
  const entry: AgentEntry = {
    id: `entry${path}`,
    spiffeId: id,
    selectors: ['unix:uid:0'],
    federatesWith: [],
    hint,
    admin: false,
    downstream: false,
    dnsNames: [],
    x509SvidTtlSeconds: 0,
    jwtSvidTtlSeconds: 0,
    revisionNumber: 1n,
    createdAtSeconds: 1,
    disableX509SvidPrefetch: false,
    jwtSvidIncludeJti: false,
  };
  return {
    entryId: entry.id,
    spiffeId: id,
    certificatesDer: chain,
    privateKeyPkcs8Der: new Uint8Array(key.privateKey.export({ type: 'pkcs8', format: 'der' })),
    expiresAtMs: ca.nowMs + 3_600_000,
    hint,
    entry,
  };
}

/** One view for all callers. */
export class StandInIdentities implements IdentitySource {
  ready = true;
  readonly view: Current<WorkloadIdentities>;

  constructor(ca: TestCa, identities: readonly X509Identity[] = []) {
    this.view = new Current<WorkloadIdentities>({
      identities,
      entries: identities.map(({ entry }) => entry),
      pending: 0,
      bundle: ca.bundle(),
      federatedBundles: new Map(),
    });
  }

  /** Changes what callers see. */
  change(change: Partial<WorkloadIdentities>): void {
    this.view.set({ ...this.view.value, ...change });
  }

  identitiesFor(): IdentityView {
    return this.view;
  }
}
