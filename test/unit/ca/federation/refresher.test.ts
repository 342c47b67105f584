import { once } from 'node:events';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BundleRefresher } from '../../../../ca/federation/refresher.ts';
import { formatBundleDocument, X509Authority } from '../../../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { RegistryRig } from '../../../support/registry-rig.ts';
import { TestCa } from '../../../support/test-ca.ts';

const other = parseTrustDomain('other.org');
const endpointSpiffeId = parseSpiffeId('spiffe://other.org/endpoint');
let rig: RegistryRig;
let foreign: TestCa;
let refresher: BundleRefresher;
let server: Server;
let requests = 0;
let body: string | undefined;

beforeEach(async () => {
  rig = await RegistryRig.start();
  foreign = TestCa.create({ trustDomain: 'other.org', nowMs: rig.clock.nowMs() });
  const { chainPem, keyPem } = foreign.issueX509Svid('/endpoint');
  server = createServer({ cert: chainPem, key: keyPem }, (_request, response) => {
    requests += 1;
    if (body === undefined) response.writeHead(500).end();
    else response.end(body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  requests = 0;
  refresher = new BundleRefresher({
    registry: rig.registry,
    store: rig.store,
    clock: rig.clock,
    log: pino({ level: 'silent' }),
    allowPrivateHosts: ['127.0.0.1'],
    random: () => 0.5,
  });
});
afterEach(async () => {
  await refresher[Symbol.asyncDispose]();
  server.closeAllConnections();
  server.close();
  await rig[Symbol.asyncDispose]();
});

const documentOf = (sequenceNumber: bigint, refreshHintSeconds?: number): string =>
  formatBundleDocument(foreign.bundle({ sequenceNumber, ...(refreshHintSeconds === undefined ? {} : { refreshHintSeconds }) }));

async function federate(): Promise<void> {
  // The cast is sound: it listens on TCP.
  const { port } = server.address() as AddressInfo;
  await rig.mutate(async (tx) => {
    await tx.putBundle(foreign.bundle({ sequenceNumber: 1n, refreshHintSeconds: 60 }));
    await tx.createRelationship({
      trustDomain: other,
      bundleEndpointUrl: `https://127.0.0.1:${port}/`,
      profile: { kind: 'https_spiffe', endpointSpiffeId },
    });
  });
}

/** Lets the timer that is due fire, and waits until `polls` requests were answered and the next timer is set. */
async function polled(polls: number): Promise<void> {
  await expect.poll(() => requests).toBe(polls);
  await expect.poll(() => rig.clock.nextTimerMs ?? 0).toBeGreaterThan(4_000);
}

const known = () => rig.registry.federatedBundles.get(other);
const state = () => refresher.states.get('other.org');

describe('polling the bundle of another trust domain', () => {
  test('[SPIFFE Federation §4.1, §6.2] at once, then at the pace of the refresh hint', async () => {
    body = documentOf(2n, 120);
    await federate();
    rig.clock.advance(0);
    await polled(1);
    expect(known()?.sequenceNumber).toBe(2n);
    rig.clock.advance(119_000);
    expect(requests).toBe(1);
    body = documentOf(3n, 120);
    rig.clock.advance(1_000);
    await polled(2);
    await expect.poll(() => known()?.sequenceNumber).toBe(3n);
  });

  test('[SPIFFE Federation §4.1] every five minutes where there is no hint, and never faster than every five seconds', async () => {
    body = documentOf(2n, 0);
    await federate();
    rig.clock.advance(0);
    await polled(1);
    await expect.poll(() => rig.clock.nextTimerMs).toBe(300_000);
    body = documentOf(3n, 1);
    rig.clock.advance(300_000);
    await polled(2);
    await expect.poll(() => rig.clock.nextTimerMs).toBe(5_000);
  });

  test('[SPIFFE Federation §6.2] a failure keeps the last bundle and waits for the next interval', async () => {
    body = undefined;
    await federate();
    rig.clock.advance(0);
    await polled(1);
    await expect.poll(() => state()?.lastFailure).toContain('HTTP status 500');
    expect(known()?.sequenceNumber).toBe(1n);
    expect(rig.clock.nextTimerMs).toBe(60_000);
    body = documentOf(2n, 60);
    rig.clock.advance(60_000);
    await polled(2);
    await expect.poll(() => known()?.sequenceNumber).toBe(2n);
    expect(state()?.lastFailure).toBeUndefined();
  });

  test('[SPIFFE Federation §4.2] the sequence number says which bundle is newer; equal ones go by content', async () => {
    await federate();
    const refreshed = async (document: string): Promise<bigint | undefined> => {
      body = document;
      await refresher.refresh(other);
      return known()?.sequenceNumber;
    };
    expect(await refreshed(documentOf(5n, 60))).toBe(5n);
    expect(await refreshed(documentOf(4n, 30))).toBe(5n);
    expect(known()?.refreshHintSeconds).toBe(60);
    await refreshed(documentOf(5n, 30));
    expect(known()?.refreshHintSeconds).toBe(30);
  });

  test('[SPIFFE Federation §5.2.2.4] the latest bundle verifies the next connection', async () => {
    const next = TestCa.create({ trustDomain: 'other.org', nowMs: rig.clock.nowMs() });
    await federate();
    body = formatBundleDocument(
      foreign.bundle({
        sequenceNumber: 2n,
        x509Authorities: [new X509Authority(foreign.root.der), new X509Authority(next.root.der)],
      }),
    );
    await refresher.refresh(other);
    // The endpoint goes over to its new authority, then drops the old one.
    const { chainPem, keyPem } = next.issueX509Svid('/endpoint');
    server.setSecureContext({ cert: chainPem, key: keyPem });
    body = formatBundleDocument(next.bundle({ sequenceNumber: 3n }));
    await refresher.refresh(other);
    expect(known()?.sequenceNumber).toBe(3n);
  });

  test('ends with the relationship', async () => {
    body = documentOf(2n, 60);
    await federate();
    rig.clock.advance(0);
    await polled(1);
    await rig.mutate((tx) => tx.deleteRelationship(other));
    await expect.poll(() => refresher.states.size).toBe(0);
    expect(await refresher.refresh(other)).toBe(false);
    rig.clock.advance(3_600_000);
    expect(requests).toBe(1);
  });
});
