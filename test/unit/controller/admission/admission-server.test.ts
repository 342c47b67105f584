import { connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

import { systemClock } from '../../../../core/clock.ts';
import { Current } from '../../../../core/current.ts';
import { IdentityError } from '../../../../core/errors.ts';
import { createAdmissionMetrics } from '../../../../controller/admission/admission-metrics.ts';
import { startAdmission, type Admission } from '../../../../controller/admission/admission-server.ts';
import { REVIEW_TIMEOUT_MS } from '../../../../controller/admission/judge.ts';
import { ACCEPTED, type Reviewer } from '../../../../controller/admission/review.ts';
import type { ServingCredentials } from '../../../../controller/admission/serving-certificate.ts';
import { createLogger } from '../../../../runtime/log.ts';
import { createMetrics } from '../../../../runtime/metrics.ts';
import { AdmissionClient, admissionReview } from '../../../support/admission-client.ts';
import { ManualClock } from '../../../support/manual-clock.ts';
import { TestCa, type IssuedSvid } from '../../../support/test-ca.ts';

const SERVICE = 'countersign-controller.countersign-system.svc';
const PATH = '/admission/countersign.dev/clusterworkloadidentities';
const KIND = 'ClusterWorkloadIdentity';

const ca = TestCa.create();
const log = createLogger({ level: 'fatal', name: 'test' });

function servingCertificate(): IssuedSvid {
  const intermediate = ca.issueIntermediate();
  return ca.issueX509Svid('/controller', { dnsNames: [SERVICE] }, [intermediate]);
}

function credentialsOf({ chainPem, keyPem }: IssuedSvid): ServingCredentials {
  return { chainPem, privateKeyPem: keyPem };
}

let reviewer: Reviewer;
let credentials: Current<ServingCredentials | undefined>;
let admission: Admission;
let client: AdmissionClient;
const clock = new ManualClock();
let registry = createMetrics();

beforeEach(async () => {
  reviewer = () => ACCEPTED;
  registry = createMetrics();
  credentials = new Current<ServingCredentials | undefined>(credentialsOf(servingCertificate()));
  const reviewers = { [KIND]: ((request, signal) => reviewer(request, signal)) satisfies Reviewer };
  const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
  admission = await startAdmission({ address, credentials, reviewers, clock, log, metrics: createAdmissionMetrics(registry) });
  client = new AdmissionClient({ port: admission.port, caPem: ca.rootPem, serverName: SERVICE });
});

afterEach(async () => {
  client[Symbol.dispose]();
  await admission[Symbol.asyncDispose]();
});

describe('verdicts', () => {
  test('an object without faults is allowed, with its warnings', async () => {
    reviewer = () => ({ faults: [], warnings: ['selects no pod'] });
    const { status, body } = await client.ask(PATH, admissionReview({ kind: KIND, object: { spec: {} } }));
    expect(status).toBe(200);
    expect(body).toEqual({
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: '705ab4f5-6393-11e8-b7cc-42010a800002', allowed: true, warnings: ['selects no pod'] },
    });
  });

  test('faults refuse with a cause for each field', async () => {
    reviewer = () => ({
      faults: [
        { field: 'spec.ttl', message: 'is no duration' },
        { field: '', message: 'pod a/b: no' },
      ],
      warnings: [],
    });
    const { status, body } = await client.ask(`${PATH}?timeout=5s`, admissionReview({ kind: KIND, object: {} }));
    expect(status).toBe(200);
    expect(body.response.allowed).toBe(false);
    expect(body.response.status).toMatchObject({
      code: 422,
      reason: 'Invalid',
      message: 'spec.ttl: is no duration; pod a/b: no',
    });
    expect(body.response.status?.details?.causes).toEqual([
      { reason: 'FieldValueInvalid', field: 'spec.ttl', message: 'is no duration' },
      { reason: 'FieldValueInvalid', field: '', message: 'pod a/b: no' },
    ]);
  });

  test('an IdentityError refuses with its field, anything else without detail', async () => {
    reviewer = () => {
      throw new IdentityError('invalid_argument', 'is unknown', { field: 'spec.spiffeID' });
    };
    const known = await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(known.body.response.status).toMatchObject({ code: 422, message: 'spec.spiffeID: is unknown' });
    reviewer = () => {
      throw new TypeError('secret of the inside');
    };
    const unknown = await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(unknown.body.response).toMatchObject({ allowed: false, status: { code: 503 } });
    expect(JSON.stringify(unknown.body)).not.toContain('secret');
  });

  test('a review that does not end is refused before the API server gives up, and told so', async () => {
    const signals: AbortSignal[] = [];
    reviewer = (_request, signal) => {
      signals.push(signal);
      return new Promise(() => {});
    };
    const asked = client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    await expect.poll(() => signals.length).toBe(1);
    clock.advance(REVIEW_TIMEOUT_MS);
    const { body } = await asked;
    expect(body.response).toMatchObject({ allowed: false, status: { code: 503, reason: 'ServiceUnavailable' } });
    expect(signals[0]?.aborted).toBe(true);
  });

  test.each([
    ['a deletion', { operation: 'DELETE', oldObject: { spec: { bad: 1 } } }],
    [
      'a change of metadata',
      { operation: 'UPDATE', object: { metadata: { labels: { a: 'b' } }, spec: { bad: 1 } }, oldObject: { spec: { bad: 1 } } },
    ],
    ['a status', { operation: 'UPDATE', subResource: 'status', object: { spec: { bad: 2 } }, oldObject: { spec: { bad: 1 } } }],
  ])('%s always passes', async (_what, request) => {
    reviewer = () => {
      throw new IdentityError('invalid_argument', 'must not be asked');
    };
    const { body } = await client.ask(PATH, admissionReview({ kind: KIND, ...request }));
    expect(body.response).toEqual({ uid: expect.any(String), allowed: true });
  });

  test('long warnings are cut and many are counted', async () => {
    reviewer = () => ({ faults: [], warnings: Array.from({ length: 40 }, (_, index) => `${index} ${'x'.repeat(500)}`) });
    const { body } = await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(body.response.warnings).toHaveLength(10);
    expect(body.response.warnings?.at(-1)).toBe('and 31 more');
    expect(Math.max(...(body.response.warnings ?? []).map((warning) => warning.length))).toBeLessThanOrEqual(256);
  });
});

describe('what cannot be read', () => {
  const question = JSON.stringify(admissionReview({ kind: KIND, object: {} }));

  test.each([
    ['another path', '/admission/countersign.dev/pods', question, {}, 404],
    ['a path that is no path', '//', question, {}, 404],
    ['an empty query and a fragment', '/?#%', question, {}, 404],
    ['another method', PATH, '', { method: 'GET' }, 405],
    ['another content type', PATH, question, { contentType: 'text/plain' }, 415],
    ['no JSON', PATH, '{', {}, 400],
    ['an empty body', PATH, '', {}, 400],
    ['a list', PATH, '[]', {}, 400],
    ['another API version', PATH, question.replace('admission.k8s.io/v1', 'admission.k8s.io/v1beta1'), {}, 400],
    ['no request', PATH, '{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', {}, 400],
    ['no uid', PATH, question.replace('705ab4f5-6393-11e8-b7cc-42010a800002', ''), {}, 400],
    ['an unknown operation', PATH, question.replace('"CREATE"', '"PATCH"'), {}, 400],
    ['another kind than the path judges', PATH, question.replaceAll(KIND, 'WorkloadIdentity'), {}, 400],
    ['a body beyond the limit', PATH, `"${'x'.repeat(9 * 1024 * 1024)}"`, {}, 413],
  ])('%s is a refusal in the same form', async (_what, path, body, options, status) => {
    const reply = await client.send(path, body, options);
    expect(reply.status).toBe(status);
    expect(reply.body).toMatchObject({
      kind: 'AdmissionReview',
      response: { uid: '', allowed: false, status: { code: status, reason: 'BadRequest' } },
    });
    // The server goes on.
    expect((await client.ask(PATH, admissionReview({ kind: KIND, object: {} }))).status).toBe(200);
  });

  test('callers that speak no HTTP, or go away in the middle, do not matter', async () => {
    const options = { host: '127.0.0.1', port: admission.port, ca: ca.rootPem, servername: SERVICE };
    const parts = [
      'nonsense\r\n\r\n',
      `POST ${PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{`,
      `POST http://[ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n`,
    ];
    for (const part of parts) {
      const socket = connect(options);
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      await new Promise((resolve) => socket.write(part, resolve));
      socket.destroy();
    }
    expect((await client.ask(PATH, admissionReview({ kind: KIND, object: {} }))).status).toBe(200);
  });

  test('more reviews at one time than are run are told to come back', async () => {
    const release = Promise.withResolvers<void>();
    let running = 0;
    reviewer = async () => {
      running += 1;
      await release.promise;
      return ACCEPTED;
    };
    const clients = Array.from(
      { length: 33 },
      () => new AdmissionClient({ port: admission.port, caPem: ca.rootPem, serverName: SERVICE }),
    );
    const asked = clients.slice(1).map((each) => each.ask(PATH, admissionReview({ kind: KIND, object: {} })));
    await expect.poll(() => running).toBe(32);
    const refused = await clients[0]?.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(refused?.status).toBe(429);
    release.resolve();
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual(Array.from({ length: 32 }, () => 200));
    clients.forEach((each) => each[Symbol.dispose]());
  });
});

describe('its certificate', () => {
  test('a newer one is shown to new connections, and an open one goes on', async () => {
    const before = await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    const renewed = servingCertificate();
    credentials.set(credentialsOf(renewed));
    const kept = await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(kept.fingerprint).toBe(before.fingerprint);
    using other = new AdmissionClient({ port: admission.port, caPem: ca.rootPem, serverName: SERVICE });
    const after = await other.ask(PATH, admissionReview({ kind: KIND, object: {} }));
    expect(after.status).toBe(200);
    expect(after.fingerprint).not.toBe(before.fingerprint);
  });

  test('credentials that are gone for a while leave the last ones', async () => {
    credentials.set(undefined);
    expect((await client.ask(PATH, admissionReview({ kind: KIND, object: {} }))).status).toBe(200);
  });

  test('without any the server does not start', async () => {
    const none = new Current<ServingCredentials | undefined>(undefined);
    const address = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
    const metrics = createAdmissionMetrics(createMetrics());
    const started = startAdmission({ address, credentials: none, reviewers: {}, clock: systemClock, log, metrics });
    await expect(started).rejects.toMatchObject({ code: 'failed_precondition' });
  });

  test('TLS 1.2 is refused', async () => {
    const socket = connect({
      host: '127.0.0.1',
      port: admission.port,
      maxVersion: 'TLSv1.2',
      ca: ca.rootPem,
      servername: SERVICE,
    });
    const error = await new Promise((resolve) => socket.once('error', resolve).once('secureConnect', () => resolve(undefined)));
    expect(error).toBeDefined();
  });
});

test('reviews are counted and timed by kind and verdict', async () => {
  await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
  reviewer = () => ({ faults: [{ field: '', message: 'no' }], warnings: [] });
  await client.ask(PATH, admissionReview({ kind: KIND, object: {} }));
  await client.send('/elsewhere', '{}');
  const text = await registry.metrics();
  expect(text).toContain(`countersign_admission_reviews_total{kind="${KIND}",verdict="allowed"} 1`);
  expect(text).toContain(`countersign_admission_reviews_total{kind="${KIND}",verdict="refused"} 1`);
  expect(text).toContain('countersign_admission_reviews_total{kind="unknown",verdict="unreadable"} 1');
  expect(text).toContain(`countersign_admission_seconds_count{kind="${KIND}"} 2`);
});
