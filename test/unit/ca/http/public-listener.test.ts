import { request } from 'node:https';
import { text as readStream } from 'node:stream/consumers';
import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { listenPublic, type PublicCredentials, type PublicListener } from '../../../../ca/http/public-listener.ts';
import { Current } from '../../../../core/current.ts';
import { formatBundleDocument, parseBundleDocument, type Bundle } from '../../../../spiffe/bundle.ts';
import { verifyX509Svid } from '../../../../spiffe/x509-svid.ts';
import { TestCa } from '../../../support/test-ca.ts';

const ca = TestCa.create({ nowMs: Date.now() });
const credentialsOf = (path: string): PublicCredentials => {
  const { chainPem, keyPem } = ca.issueX509Svid(path);
  return { certificatePem: chainPem, privateKeyPem: keyPem };
};
const credentials = new Current<PublicCredentials>(credentialsOf('/spire/server'));
const bundle = new Current<Bundle>(ca.bundle({ sequenceNumber: 7n, refreshHintSeconds: 60 }));
let listener: PublicListener;
beforeAll(async () => {
  const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
  listener = await listenPublic({ address, credentials, bundle, bundleEndpoint: true, jwtIssuer: 'https://id.example.org' });
});
afterAll(() => listener[Symbol.asyncDispose]());

interface Answer {
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  readonly chain: readonly Uint8Array[];
}

function ask(path: string, method = 'GET'): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = { host: '127.0.0.1', port: listener.port, path, method, rejectUnauthorized: false, agent: false };
  request(options, (response) => {
    // The cast is sound: https answers over TLS.
    const { raw } = (response.socket as TLSSocket).getPeerCertificate();
    readStream(response).then(
      (body) => resolve({ status: response.statusCode, headers: response.headers, body, chain: [raw] }),
      reject,
    );
  })
    .once('error', reject)
    .end();
  return promise;
}

describe('the bundle endpoint', () => {
  test('[SPIFFE Federation §5.2.1.3, §5.2.2.3] answers the latest bundle as JSON in UTF-8, without asking who asks', async () => {
    const { status, headers, body } = await ask('/');
    expect([status, headers['content-type'], headers['www-authenticate']]).toEqual([
      200,
      'application/json; charset=utf-8',
      undefined,
    ]);
    expect(body).toBe(formatBundleDocument(bundle.value));
    bundle.set(ca.bundle({ sequenceNumber: 8n, refreshHintSeconds: 60 }));
    expect(parseBundleDocument((await ask('/')).body, ca.trustDomain).sequenceNumber).toBe(8n);
  });

  test('[SPIFFE Federation §5.2.1.3, §5.2.2.3] asks for no client certificate, and presents a valid X.509-SVID', async () => {
    const { chain } = await ask('/');
    expect(verifyX509Svid(chain, ca.bundles, Date.now()).id.toString()).toBe('spiffe://example.org/spire/server');
    const next = credentialsOf('/next');
    credentials.set(next);
    expect(verifyX509Svid((await ask('/')).chain, ca.bundles, Date.now()).id.path).toBe('/next');
  });

  test('[SPIFFE Federation §5] TLS is 1.2 or newer, as Mozilla’s intermediate compatibility asks, and no session is resumed', async () => {
    const protocolOf = (maxVersion: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'): Promise<string> =>
      new Promise((resolve) => {
        const ciphers = 'DEFAULT@SECLEVEL=0';
        const options = { port: listener.port, rejectUnauthorized: false, minVersion: maxVersion, maxVersion, ciphers };
        const socket = connect(options, () => resolve(socket.getProtocol() ?? ''));
        socket
          .once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''))
          .once('secureConnect', () => socket.destroy());
      });
    expect(await protocolOf('TLSv1.1')).toMatch(/^(ERR_SSL|ECONNRESET)/);
    expect(await protocolOf('TLSv1.2')).toBe('TLSv1.2');
    expect(await protocolOf('TLSv1.3')).toBe('TLSv1.3');
  });

  test('answers nothing else, and no other method', async () => {
    expect((await ask('/metrics')).status).toBe(404);
    expect((await ask('/readyz')).status).toBe(404);
    expect((await ask('/', 'POST')).status).toBe(404);
    expect((await ask('/')).headers).not.toHaveProperty('x-powered-by');
  });
});
