import { createServer, type Server } from 'node:https';
import type { RequestListener } from 'node:http';

import { afterEach, describe, expect, it } from 'vitest';

import { fetchBundle, type FetchBundleOptions } from '../../../../ca/federation/fetch-bundle.ts';
import type { FederationRelationship } from '../../../../ca/model.ts';
import { formatBundleDocument } from '../../../../spiffe/bundle.ts';
import { parseSpiffeId } from '../../../../spiffe/spiffe-id.ts';
import { parseTrustDomain } from '../../../../spiffe/trust-domain.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { bundleSource, TestCa } from '../../../support/test-ca.ts';

// TLS of Node itself checks https_web certificates, by the machine's own clock.
const NOW_MS = Date.now();
const foreign = TestCa.create({ trustDomain: 'other.org', nowMs: NOW_MS });
const document = formatBundleDocument(foreign.bundle());
const endpoint = foreign.issueX509Svid('/bundle-endpoint', { dnsNames: ['localhost'] });
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer({ cert: endpoint.chainPem, key: endpoint.keyPem }, listener);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return `https://localhost:${typeof address === 'object' && address !== null ? address.port : 0}`;
}

const sendDocument: RequestListener = (_request, response) =>
  response.setHeader('content-type', 'application/json').end(document);

function relationship(bundleEndpointUrl: string, endpointId?: string): FederationRelationship {
  return {
    trustDomain: parseTrustDomain('other.org'),
    bundleEndpointUrl,
    profile:
      endpointId === undefined ? { kind: 'https_web' } : { kind: 'https_spiffe', endpointSpiffeId: parseSpiffeId(endpointId) },
  };
}

function options(changes: Partial<FetchBundleOptions> = {}): FetchBundleOptions {
  return {
    clock: new ManualClock(NOW_MS),
    bundles: bundleSource(foreign.bundle()),
    allowPrivateHosts: ['localhost'],
    ...changes,
  };
}

describe('fetching a foreign bundle', () => {
  const spiffe = (url: string): FederationRelationship => relationship(url, 'spiffe://other.org/bundle-endpoint');

  it('[SPIFFE Federation §5.2.2.4] verifies an https_spiffe endpoint by its SPIFFE ID and reads the bundle', async () => {
    const bundle = await fetchBundle(spiffe(await serve(sendDocument)), options());
    expect(bundle.trustDomain.name).toBe('other.org');
    expect(formatBundleDocument(bundle)).toBe(document);
  });

  it('[SPIFFE Federation §5.2.2.4] refuses an endpoint with another SPIFFE ID before it sends a request', async () => {
    let requests = 0;
    const url = await serve((...args) => {
      requests += 1;
      sendDocument(...args);
    });
    await expect(fetchBundle(relationship(url, 'spiffe://other.org/somebody-else'), options())).rejects.toMatchObject({
      code: 'unauthenticated',
    });
    expect(requests).toBe(0);
  });

  it('[SPIFFE Federation §5.2.2.2] refuses an endpoint whose trust domain has no bundle yet', async () => {
    const url = await serve(sendDocument);
    await expect(fetchBundle(spiffe(url), options({ bundles: bundleSource() }))).rejects.toMatchObject({
      code: 'unauthenticated',
    });
  });

  it('[SPIFFE Federation §5.2.1.4] verifies an https_web endpoint against the web roots and its host name', async () => {
    const url = await serve(sendDocument);
    await expect(fetchBundle(relationship(url), options())).rejects.toMatchObject({ code: 'unavailable' });
    const otherHost = url.replace('localhost', '127.0.0.1');
    const trusting = options({ webRootsPem: [foreign.rootPem], allowPrivateHosts: ['127.0.0.1'] });
    await expect(fetchBundle(relationship(otherHost), trusting)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('[SPIFFE Federation §5.2.1.4] follows a redirect to another valid URL, and no other', async () => {
    const target = await serve(sendDocument);
    const moved = await serve((_request, response) => response.writeHead(302, { location: `${target}/elsewhere` }).end());
    expect((await fetchBundle(spiffe(moved), options())).x509Authorities).toHaveLength(1);
    for (const location of ['http://localhost/', 'https://user@localhost/', 'file:///etc/passwd']) {
      const url = await serve((_request, response) => response.writeHead(302, { location }).end());
      await expect(fetchBundle(spiffe(url), options())).rejects.toMatchObject({ code: 'invalid_argument' });
    }
  });

  it('ends a redirect loop', async () => {
    const url = await serve((_request, response) => response.writeHead(302, { location: '/again' }).end());
    await expect(fetchBundle(spiffe(url), options())).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('calls no private address unless its host is allowed by name, also after a redirect', async () => {
    const url = await serve(sendDocument);
    await expect(fetchBundle(spiffe(url), options({ allowPrivateHosts: [] }))).rejects.toMatchObject({
      code: 'permission_denied',
    });
    const hop = await serve((_request, response) =>
      response.writeHead(302, { location: 'https://169.254.169.254/latest/meta-data' }).end(),
    );
    await expect(fetchBundle(spiffe(hop), options())).rejects.toMatchObject({ code: 'permission_denied' });
  });

  it.each([
    ['another status', (response: Parameters<RequestListener>[1]) => response.writeHead(500).end(), 'unavailable'],
    ['no JSON', (response: Parameters<RequestListener>[1]) => response.end('<html>'), 'invalid_argument'],
    [
      'two megabytes',
      (response: Parameters<RequestListener>[1]) => response.end('x'.repeat(2 * 1024 * 1024)),
      'invalid_argument',
    ],
    ['a cut connection', (response: Parameters<RequestListener>[1]) => response.socket?.destroy(), 'unavailable'],
  ] as const)('refuses %s', async (_name, answer, code) => {
    const url = await serve((_request, response) => void answer(response));
    await expect(fetchBundle(spiffe(url), options())).rejects.toMatchObject({ code });
  });

  it.each(['http://localhost/', 'https://user:secret@localhost/', 'ftp://localhost/', 'nonsense'])(
    'refuses the URL %s',
    async (url) => {
      await expect(fetchBundle(relationship(url), options())).rejects.toMatchObject({
        code: 'invalid_argument',
        field: 'bundle_endpoint_url',
      });
    },
  );

  it('accepts an https_web endpoint whose root is given', async () => {
    const url = await serve(sendDocument);
    const bundle = await fetchBundle(relationship(url), options({ webRootsPem: [foreign.rootPem] }));
    expect(bundle.jwtAuthorities.size).toBe(1);
  });
});
