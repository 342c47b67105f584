import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createWorkloadAttestors, workloadAttestorsConfig } from '../../../../../agent/workload-attest/config.ts';
import { KubeletPods, type PodLister } from '../../../../../agent/workload-attest/k8s/kubelet-pods.ts';
import { Kubelet, type KubeletOptions } from '../../../../../agent/workload-attest/k8s/kubelet.ts';
import { decode } from '../../../../../core/decode.ts';
import { isIdentityError } from '../../../../../core/errors.ts';
import { createLogger } from '../../../../../runtime/log.ts';
import { TestPki, type KeyPairPem } from '../../../../support/kubernetes/pki.ts';
import { ManualClock } from '../../../../support/manual-clock.ts';
import { StandInKubelet } from '../../../../support/stand-in-kubelet.ts';

const UID = '2c48913c-b29f-11e7-9350-020968147796';
const ID = 'ab'.repeat(32);
const clock = new ManualClock();
const never = new AbortController().signal;
const pod = (containerID?: string) => ({
  metadata: { uid: UID, name: 'web-1', namespace: 'shop' },
  spec: { nodeName: 'worker-1', serviceAccountName: 'web' },
  status: { containerStatuses: [{ name: 'web', image: 'web:1', imageID: '', containerID }] },
});
const wanted = { podUid: UID, containerId: ID };

let folder = '';
let pki: TestPki;
let serving: KeyPairPem;
let kubelet: StandInKubelet;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'kubelet-'));
  pki = await TestPki.create();
  serving = await pki.issue({ name: 'kubelet', dnsNames: ['worker-1'], addresses: ['127.0.0.1'] });
  await writeFile(file('ca.crt'), pki.authority.certificate);
  await writeFile(file('other.crt'), (await TestPki.create()).authority.certificate);
});
afterAll(() => rm(folder, { recursive: true }));
beforeEach(async () => {
  const mutual = { ca: pki.authority.certificate, requestCert: true, rejectUnauthorized: false };
  kubelet = await StandInKubelet.listen({ cert: serving.certificate, key: serving.key, ...mutual });
  kubelet.token = 'token-1';
  await writeFile(file('token'), 'token-1\n');
});
afterEach(() => kubelet[Symbol.asyncDispose]());

const file = (name: string): string => join(folder, name);

function ask(tls: Partial<KubeletOptions['tls']> = {}, port = kubelet.port): Promise<readonly unknown[]> {
  const token = { kind: 'token', file: file('token') } as const;
  const whole = { caFile: file('ca.crt'), serverName: 'worker-1', credentials: token, ...tls };
  return new Kubelet({ clock, host: '127.0.0.1', port, tls: whole }).pods(never);
}

async function codeOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'no error',
    (error: unknown) => (isIdentityError(error) ? error.code : error),
  );
}

describe('the kubelet', () => {
  test('is verified by name and authority, and shown the token, which is read anew', async () => {
    kubelet.pods = [pod()];
    expect(await ask()).toEqual([pod()]);
    await writeFile(file('token'), 'token-2');
    kubelet.token = 'token-2';
    await ask();
    expect(kubelet.requests).toEqual([
      { path: '/pods', authorization: 'Bearer token-1' },
      { path: '/pods', authorization: 'Bearer token-2' },
    ]);
  });

  test('that is somebody else gets no token', async () => {
    expect(await codeOf(ask({ caFile: file('other.crt') }))).toBe('unavailable');
    expect(await codeOf(ask({ serverName: 'worker-2' }))).toBe('unavailable');
    expect(kubelet.requests).toEqual([]);
  });

  test('is told by its chain alone where its name is not known, and taken unverified when configured so', async () => {
    await ask({ serverName: undefined });
    await ask({ caFile: undefined });
    expect(await codeOf(ask({ serverName: undefined, caFile: file('other.crt') }))).toBe('unavailable');
  });

  test('may want a certificate, or nothing', async () => {
    const client = await pki.issue({ name: 'agent' });
    await writeFile(file('client.crt'), client.certificate);
    await writeFile(file('client.key'), client.key);
    kubelet.token = undefined;
    await ask({ credentials: { kind: 'certificate', certFile: file('client.crt'), keyFile: file('client.key') } });
    await ask({ credentials: { kind: 'none' } });
    expect(kubelet.requests.map(({ authorization }) => authorization)).toEqual([undefined, undefined]);
  });

  test('speaks plain HTTP on its read-only port', async () => {
    await using readOnly = await StandInKubelet.listen();
    readOnly.pods = [pod()];
    const plain = new Kubelet({ clock, host: '127.0.0.1', port: readOnly.port, tls: undefined });
    expect(await plain.pods(never)).toEqual([pod()]);
    expect(readOnly.requests).toEqual([{ path: '/pods', authorization: undefined }]);
  });

  test.each([
    [401, 'Unauthorized', 'permission_denied'],
    [403, 'Forbidden', 'permission_denied'],
    [500, 'oops', 'unavailable'],
    [200, 'no JSON', 'unavailable'],
    [200, '[]', 'unavailable'],
    [200, '{"items":7}', 'unavailable'],
    [200, '{"items":null}', 'no error'],
  ])('that answers %i %s', async (status, body, code) => {
    kubelet.answer = { status, body };
    expect(await codeOf(ask())).toBe(code);
  });

  test('that is not there, or a token that is not', async () => {
    expect(await codeOf(ask({}, 1))).toBe('unavailable');
    expect(await codeOf(ask({ credentials: { kind: 'token', file: file('nothing') } }))).toBe('unavailable');
  });

  test('that does not answer is not waited for longer than 10 s', async () => {
    const held = Promise.withResolvers<void>();
    kubelet.hold = held.promise;
    const code = codeOf(ask());
    await expect.poll(() => kubelet.requests.length).toBe(1);
    clock.advance(10_000);
    expect(await code).toBe('unavailable');
    held.resolve();
  });

  test('serves the attestor of a configuration', async () => {
    await using readOnly = await StandInKubelet.listen();
    readOnly.pods = [pod(`containerd://${ID}`)];
    const config = { k8s: { source: 'kubelet', kubelet: { readOnlyPort: readOnly.port } } };
    const log = createLogger({ level: 'fatal', name: 'test' });
    const around = { clock, log, environment: {} };
    const [attestor] = createWorkloadAttestors(decode(workloadAttestorsConfig('/'), config), around);
    const cgroups = [{ hierarchy: '0', controllers: '', path: `/kubepods/pod${UID}/${ID}` }];
    const image = { pid: 1, uid: 0, gid: 0, supplementaryGids: [], executable: undefined, cgroups, text: '' };
    expect(await attestor?.attest(image, never)).toContainEqual({ type: 'k8s', value: 'container-name:web' });
    attestor?.close?.();
  });
});

describe('pods from the kubelet', () => {
  /** A kubelet whose answers a test gives one by one. */
  class ByHand implements PodLister {
    readonly asked: PromiseWithResolvers<readonly unknown[]>[] = [];
    pods(): Promise<readonly unknown[]> {
      const answer = Promise.withResolvers<readonly unknown[]>();
      this.asked.push(answer);
      return answer.promise;
    }
  }

  async function answered(lister: ByHand, pods: readonly unknown[] | Error): Promise<void> {
    const asked = lister.asked.at(-1);
    if (pods instanceof Error) asked?.reject(pods);
    else asked?.resolve(pods);
    await new Promise((resolve) => setImmediate(resolve));
  }

  test('are asked for only while somebody waits, and not faster than four times a second', async () => {
    const [lister, time] = [new ByHand(), new ManualClock()];
    const pods = new KubeletPods(lister, time);
    expect([pods.find(wanted), lister.asked.length]).toEqual([undefined, 0]);
    let told = 0;
    const end = pods.subscribe(() => (told += 1));
    const endOther = pods.subscribe(() => {});
    expect(lister.asked).toHaveLength(1);
    await answered(lister, [pod()]);
    expect([told, lister.asked.length, pods.find(wanted)?.container]).toEqual([1, 1, undefined]);
    time.advance(249);
    expect(lister.asked).toHaveLength(1);
    time.advance(1);
    expect(lister.asked).toHaveLength(2);
    await answered(lister, [pod(`containerd://${ID}`)]);
    expect(pods.find(wanted)?.container?.name).toBe('web');
    end();
    endOther();
    time.advance(60_000);
    expect([lister.asked.length, time.timers]).toEqual([2, 0]);
    pods.close();
  });

  test('hold for five seconds, and on while the kubelet does not answer', async () => {
    const [lister, time] = [new ByHand(), new ManualClock()];
    const pods = new KubeletPods(lister, time);
    pods.subscribe(() => {})();
    await answered(lister, [pod(`cri-o://${ID}`)]);
    time.advance(4_999);
    expect(pods.find(wanted)).toBeDefined();
    time.advance(1);
    expect(pods.find(wanted)).toBeUndefined();
    pods.subscribe(() => {})();
    await answered(lister, new Error('connection refused'));
    expect([pods.find(wanted)?.container?.name, pods.outage?.message]).toEqual(['web', 'connection refused']);
    pods.subscribe(() => {})();
    await answered(lister, []);
    expect([pods.find(wanted), pods.outage]).toEqual([undefined, undefined]);
    pods.close();
  });
});
