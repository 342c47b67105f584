// The session of a controller with a SPIRE server: over its private socket, without what only our CA has.
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { Entry } from '../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { openAdminSession } from '../../runtime/admin-session.ts';
import { createLogger } from '../../runtime/log.ts';
import { createSpiffeId } from '../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../spiffe/trust-domain.ts';
import { verifyX509Svid } from '../../spiffe/x509-svid.ts';
import { spireBinaries, startSpireServer } from '../support/spire.ts';

const trustDomain = parseTrustDomain('example.org');

describe.skipIf(spireBinaries === undefined)('an admin session with SPIRE (needs SPIRE_BIN)', () => {
  test('[SPIRE server] administers, learns the bundle by asking, and mints the SVID of a webhook', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'spire-'));
    await using resources = new AsyncDisposableStack();
    resources.defer(() => rmSync(folder, { recursive: true, force: true }));
    const server = resources.use(await startSpireServer({ folder }));
    const mint = { spiffeId: createSpiffeId(trustDomain, '/webhook'), dnsNames: ['webhook.system.svc'] };
    const ca = { kind: 'socket', path: server.admin.slice('unix:'.length), mint } as const;
    const log = createLogger({ level: 'fatal', name: 'test' });
    await using session = await openAdminSession({ ca, trustDomain, clock: systemClock, log });
    expect(session.isCountersign).toBe(false);
    expect(session.bundle.value.x509Authorities).toHaveLength(1);
    expect(await session.connection.client(Entry).countEntries({})).toMatchObject({ count: 0 });
    const chain = session.credentials.value?.chainDer ?? [];
    const verified = verifyX509Svid(chain, { bundleOf: () => session.bundle.value }, systemClock.nowMs());
    expect(verified.id.toString()).toBe('spiffe://example.org/webhook');
    expect(new X509Certificate(chain[0] ?? '').subjectAltName).toContain('DNS:webhook.system.svc');
    expect(session.outage.value).toBeUndefined();
  });
});
