// Sessions over the private socket; test/integration/admin-login.test.ts has those that log in.
import { X509Certificate } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { openAdminSession, type AdminSession, type SocketTarget } from '../../../runtime/admin-session.ts';
import { createLogger } from '../../../runtime/log.ts';
import { createSpiffeId } from '../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../spiffe/trust-domain.ts';
import { Entry } from '../../../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../../../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { failureOf } from '../../support/rpc-failure.ts';
import { RunningCa } from '../../support/running-ca.ts';

const trustDomain = parseTrustDomain('example.org');
const log = createLogger({ level: 'fatal', name: 'test' });
const mint = { spiffeId: createSpiffeId(trustDomain, '/webhook'), dnsNames: ['webhook.system.svc'] };

let resources = new AsyncDisposableStack();
afterEach(async () => {
  await resources.disposeAsync();
  resources = new AsyncDisposableStack();
});

async function openAt(ca: RunningCa, more: Partial<SocketTarget> = {}, domain = trustDomain): Promise<AdminSession> {
  const target = { kind: 'socket', path: ca.socket, ...more } as const;
  return resources.use(await openAdminSession({ ca: target, trustDomain: domain, clock: ca.clock, log }));
}

describe('a session over the private socket', () => {
  test('has a connection and the bundle, and no credentials unless it mints some', async () => {
    const ca = resources.use(await RunningCa.start());
    const session = await openAt(ca);
    expect(session.isCountersign).toBe(true);
    expect(session.credentials.value).toBeUndefined();
    expect(session.bundle.value.x509Authorities).toHaveLength(1);
    expect(await failureOf(session.connection.client(Entry).countEntries({}))).toMatchObject({ code: 'ok' });
  });

  test('hears of each change of the bundle', async () => {
    const ca = resources.use(await RunningCa.start());
    const session = await openAt(ca);
    await ca.local(LocalAuthority).prepareX509Authority({});
    await expect.poll(() => session.bundle.value.x509Authorities.length).toBe(2);
  });

  test('renews what it minted at half life, with another key', async () => {
    const clock = new ManualClock();
    const ca = resources.use(await RunningCa.start({ clock }));
    const session = await openAt(ca, { mint });
    const first = session.credentials.value;
    const certificate = new X509Certificate(first?.chainDer[0] ?? '');
    expect(certificate.subjectAltName).toBe('DNS:webhook.system.svc, URI:spiffe://example.org/webhook');
    const pass = async (minutes: number): Promise<void> => {
      for (let minute = 0; minute < minutes; minute += 1) {
        clock.advance(60_000);
        await setImmediate();
      }
    };
    await pass(26);
    expect(session.credentials.value).toBe(first);
    await pass(8);
    // Time that passes too fast also ends the connection; what was tried meanwhile is tried again after a second.
    const isRenewed = (): boolean => {
      clock.advance(1_000);
      return session.credentials.value !== first;
    };
    await expect.poll(isRenewed).toBe(true);
    expect(session.credentials.value?.privateKeyPem).not.toBe(first?.privateKeyPem);
  });

  test('does not open with a CA of another trust domain', async () => {
    const ca = resources.use(await RunningCa.start());
    const opening = openAt(ca, {}, parseTrustDomain('other.example'));
    expect(await failureOf(opening)).toMatchObject({ code: 'failed_precondition' });
  });

  test('gives up opening when it is told to', async () => {
    const stop = new AbortController();
    const ca = { kind: 'socket', path: '/nowhere/api.sock', mint } as const;
    const opening = openAdminSession({ ca, trustDomain, clock: new ManualClock(), log, signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(opening).rejects.toThrow('enough');
  });
});
