// A relying party that knows nothing of SPIFFE verifies a JWT-SVID by OpenID Connect Discovery alone, with the library `jose`.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import type { TLSSocket } from 'node:tls';
import { join } from 'node:path';
import { text as readStream } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { createRemoteJWKSet, customFetch, jwtVerify } from 'jose';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodePem } from '../../spiffe/certificate.ts';
import { CaProcess } from '../support/ca-process.ts';
import { countersign } from '../support/command.ts';
import { issueCertificate, TestCa } from '../support/test-ca.ts';

const HOST = 'id.example.org';
const web = TestCa.create({ trustDomain: 'roots.example' });
const folder = mkdtempSync(join(tmpdir(), 'oidc-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Puts a certificate of the web's own CA where `publicTls` reads it. */
function renewCertificate(): string {
  const leaf = issueCertificate(web.root, { subject: { commonName: HOST }, dnsNames: [HOST] });
  writeFileSync(join(folder, 'tls.crt'), encodePem('CERTIFICATE', leaf.der));
  writeFileSync(join(folder, 'tls.key'), leaf.key.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  return leaf.certificate.serialHex.padStart(32, '0');
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly serial: string;
  readonly headers: Readonly<Record<string, unknown>>;
}

/** A request that finds the host's name at the CA's public listener, and trusts the web's own CA only. */
function request(ca: CaProcess, url: URL): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const options = { ca: web.rootPem, host: '127.0.0.1', port: ca.publicPort, path: url.pathname, servername: url.hostname };
  get({ ...options, agent: false, headers: { host: url.host } }, (response) => {
    // The cast is sound: https answers over TLS.
    const { serialNumber } = (response.socket as TLSSocket).getPeerCertificate();
    readStream(response).then(
      (body) => resolve({ status: response.statusCode ?? 0, body, serial: serialNumber, headers: response.headers }),
      reject,
    );
  }).once('error', reject);
  return promise;
}

async function admin(ca: CaProcess, ...words: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await countersign([...words, '--socket', ca.socket]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trim();
}

describe.each([`https://${HOST}`, `https://${HOST}/tenants/one`])('the OIDC issuer %s', (issuer) => {
  let ca: CaProcess;
  beforeAll(async () => {
    renewCertificate();
    const files = `certFile: ${join(folder, 'tls.crt')}, keyFile: ${join(folder, 'tls.key')}`;
    ca = await CaProcess.start({ yaml: `jwtIssuer: ${issuer}\npublicTls: { ${files} }` });
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  const mint = (): Promise<string> => admin(ca, 'jwt', 'mint', '--spiffe-id', 'spiffe://example.org/web', '--audience', 'api');
  async function discover(): Promise<{ issuer: string; jwks_uri: string } & Readonly<Record<string, unknown>>> {
    const { status, body, headers } = await request(ca, new URL(`${issuer}/.well-known/openid-configuration`));
    expect([status, headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    // The cast is sound: the metadata has these fields (OpenID Connect Discovery §3).
    return JSON.parse(body) as { issuer: string; jwks_uri: string };
  }
  async function keySet(): Promise<ReturnType<typeof createRemoteJWKSet>> {
    const { jwks_uri: keysUrl } = await discover();
    return createRemoteJWKSet(new URL(keysUrl), {
      cooldownDuration: 0,
      [customFetch]: async (url) => {
        const { status, body } = await request(ca, new URL(url));
        return new Response(body, { status });
      },
    });
  }

  test('[JWT-SVID §3] [jose] a JWT-SVID is verified from discovery alone', async () => {
    expect(await discover()).toMatchObject({
      issuer,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: expect.arrayContaining(['ES256', 'RS256']),
    });
    const { payload } = await jwtVerify(await mint(), await keySet(), { issuer, audience: 'api' });
    expect(payload).toMatchObject({ sub: 'spiffe://example.org/web', iss: issuer });
    await expect(jwtVerify(await mint(), await keySet(), { issuer, audience: 'other' })).rejects.toThrow('"aud"');
  });

  test('[jose] keys rotate: a token of the new key verifies with the same key set', async () => {
    const keys = await keySet();
    const before = await mint();
    await jwtVerify(before, keys, { issuer });
    const prepared = JSON.parse(await admin(ca, 'authority', 'prepare', '--kind', 'jwt', '--output', 'json')) as {
      authorityId: string;
    }[];
    await admin(ca, 'authority', 'activate', '--kind', 'jwt', '--authority-id', prepared[0]?.authorityId ?? '');
    const { protectedHeader } = await jwtVerify(await mint(), keys, { issuer });
    expect(protectedHeader.kid).toBe(prepared[0]?.authorityId);
    await jwtVerify(before, keys, { issuer });
  });

  test('serves keys for tokens only, and nothing else', async () => {
    const { jwks_uri: keysUrl } = await discover();
    // The cast is sound: a JWK set.
    const { keys } = JSON.parse((await request(ca, new URL(keysUrl))).body) as { keys: Readonly<Record<string, unknown>>[] };
    expect(keys.every((key) => key['kty'] === 'EC' && key['x5c'] === undefined && key['d'] === undefined)).toBe(true);
    expect((await request(ca, new URL(`https://${HOST}/`))).status).toBe(404);
    expect((await request(ca, new URL(`https://${HOST}/metrics`))).status).toBe(404);
  });
});

test('a renewed certificate of publicTls is served without a restart; a broken one is not', async () => {
  const first = renewCertificate();
  const files = `certFile: ${join(folder, 'tls.crt')}, keyFile: ${join(folder, 'tls.key')}`;
  await using ca = await CaProcess.start({ yaml: `jwtIssuer: https://${HOST}\npublicTls: { ${files} }` });
  const served = async (): Promise<string> => (await request(ca, new URL(`https://${HOST}/keys`))).serial.toLowerCase();
  const untilServed = async (serial: string): Promise<void> => {
    for (const deadline = Date.now() + 10_000; (await served()) !== serial; await delay(50)) {
      if (Date.now() > deadline) throw new Error(`the new certificate is not served\n${ca.log}`);
    }
  };
  expect(await served()).toBe(first);
  const second = renewCertificate();
  await untilServed(second);
  writeFileSync(join(folder, 'tls.key'), 'no key');
  for (const deadline = Date.now() + 10_000; !ca.log.includes('public certificate not replaced'); await delay(50)) {
    if (Date.now() > deadline) throw new Error('the broken key was not noticed');
  }
  expect(await served()).toBe(second);
  await untilServed(renewCertificate());
});
