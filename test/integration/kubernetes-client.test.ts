// The Kubernetes client, watch, election and events against a real API server.
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { pino } from 'pino';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { systemClock } from '../../core/clock.ts';
import { openKubeClient, type KubeClient } from '../../runtime/kubernetes/client.ts';
import { EventRecorder } from '../../runtime/kubernetes/events.ts';
import { LeaderElection } from '../../runtime/kubernetes/leader-election.ts';
import { createKubeMetrics } from '../../runtime/kubernetes/metrics.ts';
import {
  CLUSTER_TRUST_BUNDLES,
  CONFIG_MAPS,
  EVENTS,
  LEASES,
  PODS,
  SELF_SUBJECT_ACCESS_REVIEWS,
  SERVICE_ACCOUNTS,
  TOKEN_REVIEWS,
} from '../../runtime/kubernetes/resource-types.ts';
import { watchResource, type ResourceWatch } from '../../runtime/kubernetes/watch.ts';
import { TestApiServer } from '../support/kubernetes/api-server.ts';
import { KUBERNETES, kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { createNamespace, createServiceAccount, createToken } from '../support/kubernetes/stand-in-node.ts';

const clock = systemClock;
const log = pino({ level: 'silent' });

describe.each([KUBERNETES.current, KUBERNETES.oldest])('Kubernetes %s', (version) => {
  describe.skipIf(kubernetesMissing({ version }) !== undefined)('client (needs go, or KUBEBUILDER_ASSETS)', () => {
    suite(version);
  });
});

function suite(version: string): void {
  let server: TestApiServer;
  let client: KubeClient;
  let namespace: string;

  beforeAll(async () => {
    server = await TestApiServer.start({ version });
    client = await openKubeClient({ kubeconfigFile: server.kubeconfigFile, clock, log });
  });

  afterAll(async () => {
    client?.[Symbol.dispose]();
    await server?.[Symbol.asyncDispose]();
  });

  beforeEach(async () => {
    namespace = `t-${randomUUID().slice(0, 8)}`;
    await createNamespace(server, namespace);
  });

  const configMap = (name: string, data: Record<string, string> = {}) => ({ metadata: { namespace, name }, data });

  describe('the client', () => {
    it('creates, reads, replaces, patches, applies, lists and deletes', async () => {
      const name = { namespace, name: 'one' };
      const created = await client.create(CONFIG_MAPS, configMap('one', { a: '1' }));
      await expect(client.create(CONFIG_MAPS, configMap('one'))).rejects.toMatchObject({ code: 'already_exists' });
      const replaced = await client.update(CONFIG_MAPS, { ...created, data: { a: '2' } });
      await expect(client.update(CONFIG_MAPS, created)).rejects.toMatchObject({ code: 'aborted', reason: 'Conflict' });
      await client.patch(CONFIG_MAPS, name, { data: { b: '3' } }, { kind: 'merge' });
      await client.patch(CONFIG_MAPS, name, [{ op: 'remove', path: '/data/a' }], { kind: 'json' });
      expect(await client.get(CONFIG_MAPS, name)).toMatchObject({ data: { b: '3' } });
      const apply = client.apply(CONFIG_MAPS, configMap('one', { b: '4' }), { fieldManager: 'tests' });
      await expect(apply).rejects.toMatchObject({ code: 'aborted' });
      await client.apply(CONFIG_MAPS, configMap('one', { b: '4', c: '5' }), { fieldManager: 'tests', force: true });
      await client.apply(CONFIG_MAPS, configMap('one', { b: '4' }), { fieldManager: 'tests' });
      expect((await client.get(CONFIG_MAPS, name))['data']).toEqual({ b: '4' });
      await expect(client.delete(CONFIG_MAPS, name, { preconditions: { uid: randomUUID() } })).rejects.toMatchObject({
        code: 'aborted',
      });
      await client.delete(CONFIG_MAPS, name, { preconditions: { uid: replaced.metadata.uid ?? '' } });
      expect(await client.find(CONFIG_MAPS, name)).toBeUndefined();
    });

    it('lists in pages of one version, by labels', async () => {
      for (let at = 0; at < 7; at += 1) {
        await client.create(CONFIG_MAPS, {
          metadata: { namespace, name: `m${at}`, labels: { parity: at % 2 === 0 ? 'even' : 'odd' } },
        });
      }
      const pages = await Array.fromAsync(client.list(CONFIG_MAPS, { namespace, labelSelector: 'parity=even', pageSize: 3 }));
      expect(pages.map(({ items }) => items.map(({ metadata }) => metadata.name))).toEqual([['m0', 'm2', 'm4'], ['m6']]);
      expect(new Set(pages.map(({ resourceVersion }) => resourceVersion)).size).toBe(1);
    });

    it('says what is refused and what is faulty in the words of the server', async () => {
      const invalid = client.create(CONFIG_MAPS, configMap('Not_A_Name'));
      await expect(invalid).rejects.toMatchObject({ code: 'invalid_argument' });
      await expect(invalid).rejects.toThrow('metadata.name');
      using nobody = await openKubeClient({ kubeconfigFile: await server.userKubeconfig('nobody'), clock, log });
      const refused = Array.fromAsync(nobody.list(PODS));
      await expect(refused).rejects.toMatchObject({ code: 'permission_denied' });
      await expect(refused).rejects.toThrow('cannot list resource "pods"');
    });

    it('reviews a token without ever telling it', async () => {
      await createServiceAccount(server, namespace, 'agent');
      const token = await createToken(server, { namespace, serviceAccount: 'agent', audience: 'tests' });
      const review = await client.create(TOKEN_REVIEWS, { metadata: {}, spec: { token, audiences: ['tests'] } });
      expect(review).toMatchObject({
        status: { authenticated: true, user: { username: `system:serviceaccount:${namespace}:agent` } },
      });
      const asked = { resourceAttributes: { verb: 'list', resource: 'pods' } };
      using agent = await openKubeClient({ kubeconfigFile: server.tokenKubeconfig(token), clock, log });
      // The token is for another audience than the API server: who shows it is nobody.
      const failed = agent.create(SELF_SUBJECT_ACCESS_REVIEWS, { metadata: {}, spec: asked });
      await expect(failed).rejects.toMatchObject({ code: 'unauthenticated' });
      const error: unknown = await failed.catch((caught: unknown) => caught);
      expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(token.slice(0, 20));
    });

    it('works with a service account as a pod has it', async () => {
      await createServiceAccount(server, namespace, 'pod');
      const folder = mkdtempSync(join(tmpdir(), 'in-cluster-'));
      mkdirSync(folder, { recursive: true });
      writeFileSync(join(folder, 'ca.crt'), server.caPem);
      const request = { metadata: { namespace, name: 'pod' }, spec: { expirationSeconds: 600 } };
      const granted = await client.create(SERVICE_ACCOUNTS, request, { subresource: 'token' });
      writeFileSync(join(folder, 'token'), (granted as unknown as { status: { token: string } }).status.token);
      const { hostname: host, port } = new URL(server.url);
      using pod = await openKubeClient({ inCluster: { host, port, folder }, clock, log });
      const asked = { resourceAttributes: { verb: 'list', resource: 'pods' } };
      const review = await pod.create(SELF_SUBJECT_ACCESS_REVIEWS, { metadata: {}, spec: asked });
      expect(review).toMatchObject({ status: { allowed: false } });
      rmSync(folder, { recursive: true });
    });

    it('works with the credentials that a program gives, and keeps what it says to itself', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'exec-'));
      await createServiceAccount(server, namespace, 'exec');
      const request = { metadata: { namespace, name: 'exec' }, spec: { expirationSeconds: 600 } };
      const granted = await client.create(SERVICE_ACCOUNTS, request, { subresource: 'token' });
      const { token } = (granted as unknown as { status: { token: string } }).status;
      const api = 'client.authentication.k8s.io/v1';
      const kubeconfig = (script: string): string => {
        const exec = { apiVersion: api, command: 'sh', args: ['-c', script], interactiveMode: 'Never' };
        const file = join(folder, randomUUID());
        const ca = Buffer.from(server.caPem).toString('base64');
        const cluster = { server: server.url, 'certificate-authority-data': ca };
        const config = {
          apiVersion: 'v1',
          kind: 'Config',
          'current-context': 'x',
          contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
          clusters: [{ name: 'x', cluster }],
          users: [{ name: 'x', user: { exec } }],
        };
        writeFileSync(file, JSON.stringify(config));
        return file;
      };
      const answer = JSON.stringify({ apiVersion: api, kind: 'ExecCredential', status: { token } });
      using program = await openKubeClient({ kubeconfigFile: kubeconfig(`echo '${answer}'`), clock, log });
      const asked = { resourceAttributes: { verb: 'list', resource: 'pods' } };
      const review = await program.create(SELF_SUBJECT_ACCESS_REVIEWS, { metadata: {}, spec: asked });
      expect(review).toMatchObject({ status: { allowed: false } });
      using broken = await openKubeClient({ kubeconfigFile: kubeconfig(`echo secret-${token}; exit 3`), clock, log });
      const error: unknown = await broken.raw('/version').catch((caught: unknown) => caught);
      expect(error).toMatchObject({ code: 'unauthenticated' });
      expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('secret-');
      rmSync(folder, { recursive: true });
    });

    it('says that a kubeconfig is unusable', async () => {
      const opened = openKubeClient({ kubeconfigFile: '/nonexistent/kubeconfig', clock, log });
      await expect(opened).rejects.toMatchObject({ code: 'invalid_argument' });
      await expect(opened).rejects.toThrow('ENOENT');
    });

    it('tells what is served', async () => {
      expect(await client.serves(PODS)).toBe(true);
      expect(await client.serves({ ...PODS, plural: 'sheep' })).toBe(false);
      expect(await client.serves({ ...PODS, group: 'no.such.group' })).toBe(false);
      expect(await client.firstServed(CLUSTER_TRUST_BUNDLES)).toBeDefined();
      expect(JSON.parse(await client.raw('/version'))).toMatchObject({ gitVersion: server.version });
    });
  });

  describe('a watch', () => {
    /** What a watch has told, as the contents of its config maps. */
    class Follower implements AsyncDisposable {
      readonly known = new Map<string, string>();
      readonly metrics = createKubeMetrics(new Registry());
      readonly stop = new AbortController();
      readonly watch: ResourceWatch;
      lists = 0;
      puts = 0;

      constructor(pageSize?: number) {
        this.watch = watchResource({
          client,
          type: CONFIG_MAPS,
          namespace,
          ...(pageSize === undefined ? {} : { pageSize }),
          // The cast is sound: config maps hold text.
          trim: (object) => (object['data'] as Record<string, string> | undefined)?.['v'] ?? '',
          handler: {
            put: (value, key) => {
              this.puts += 1;
              this.known.set(key.slice(namespace.length + 1), value);
            },
            remove: (key) => void this.known.delete(key.slice(namespace.length + 1)),
            synced: () => void (this.lists += 1),
          },
          clock,
          log,
          metrics: this.metrics,
          signal: this.stop.signal,
        });
      }

      get told(): Record<string, string> {
        return Object.fromEntries(this.known);
      }

      async [Symbol.asyncDispose](): Promise<void> {
        this.stop.abort();
        await this.watch.ended;
      }
    }

    it('tells what is there and every change', async () => {
      await client.create(CONFIG_MAPS, configMap('a', { v: '1' }));
      await using follower = new Follower();
      await follower.watch.synced;
      expect(follower.told).toEqual({ a: '1' });
      await client.create(CONFIG_MAPS, configMap('b', { v: '2' }));
      await client.patch(CONFIG_MAPS, { namespace, name: 'a' }, { data: { v: '3' } }, { kind: 'merge' });
      await expect.poll(() => follower.told).toEqual({ a: '3', b: '2' });
      await client.delete(CONFIG_MAPS, { namespace, name: 'a' });
      await expect.poll(() => follower.told).toEqual({ b: '2' });
      expect(follower.puts).toBe(3);
    });

    it('goes on after an outage of the API server without listing anew', async () => {
      await client.create(CONFIG_MAPS, configMap('a', { v: '1' }));
      await using follower = new Follower();
      await follower.watch.synced;
      await server.stop();
      await expect.poll(() => follower.watch.outage.value).toBeDefined();
      await server.restart();
      await client.create(CONFIG_MAPS, configMap('b', { v: '2' }));
      await expect.poll(() => follower.told, { timeout: 40_000 }).toEqual({ a: '1', b: '2' });
      expect([follower.watch.outage.value, follower.puts]).toEqual([undefined, 2]);
    });

    it('lists anew when its version was compacted away, and finds what happened meanwhile', async () => {
      for (const name of ['a', 'b', 'c']) await client.create(CONFIG_MAPS, configMap(name, { v: '1' }));
      await using follower = new Follower();
      await follower.watch.synced;
      const { metrics } = follower;
      await server.compact();
      await client.delete(CONFIG_MAPS, { namespace, name: 'b' });
      await client.create(CONFIG_MAPS, configMap('d', { v: '4' }));
      await expect.poll(() => follower.told, { timeout: 40_000 }).toEqual({ a: '1', c: '1', d: '4' });
      expect((await metrics.relists.get()).values[0]?.value).toBeGreaterThan(0);
      expect(follower.puts).toBe(4);
    });

    it('loses nothing when the API server is killed in the middle of a list', async () => {
      const names = Array.from({ length: 300 }, (_, at) => `m${at}`);
      await Promise.all(names.map((name) => client.create(CONFIG_MAPS, configMap(name, { v: 'x'.repeat(2_000) }))));
      await using follower = new Follower(5);
      await expect.poll(() => follower.puts, { interval: 1 }).toBeGreaterThan(20);
      await server.stop();
      expect(follower.lists).toBe(0);
      await server.restart();
      await follower.watch.synced;
      expect(follower.known.size).toBe(300);
      expect(follower.puts).toBe(300);
    });
  });

  describe('the election', () => {
    it('has one leader at any time, also while the API server is away and back', async () => {
      let leading = 0;
      const most: number[] = [];
      const terms: string[] = [];
      const stops = ['one', 'two'].map((identity) => {
        const stop = new AbortController();
        const election = new LeaderElection({
          client,
          namespace,
          name: 'leader',
          identity,
          clock,
          log,
          leaseDurationMs: 3_000,
          renewDeadlineMs: 2_000,
          retryPeriodMs: 300,
        });
        const lead = async (signal: AbortSignal): Promise<void> => {
          terms.push(identity);
          most.push((leading += 1));
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
          leading -= 1;
        };
        return { stop, ended: election.run(lead, stop.signal) };
      });
      await expect.poll(() => leading).toBe(1);
      await server.stop();
      await expect.poll(() => leading).toBe(0);
      await server.restart();
      await expect.poll(() => leading, { timeout: 20_000 }).toBe(1);
      const [one, two] = stops;
      const first = terms.at(-1) === 'one' ? one : two;
      first?.stop.abort();
      await first?.ended;
      await expect.poll(() => leading, { timeout: 20_000 }).toBe(1);
      expect(Math.max(...most)).toBe(1);
      for (const { stop, ended } of stops) {
        stop.abort();
        await ended;
      }
      expect((await client.get(LEASES, { namespace, name: 'leader' }))['spec']).toMatchObject({ holderIdentity: '' });
    });
  });

  describe('events', () => {
    it('are there for kubectl, once and with their count', async () => {
      const stop = new AbortController();
      const { metadata } = await client.create(CONFIG_MAPS, configMap('subject'));
      const regarding = { apiVersion: 'v1', kind: 'ConfigMap', namespace, name: 'subject', uid: metadata.uid ?? '' };
      const recorder = new EventRecorder({
        client,
        // Counts are written half a minute later.
        clock: {
          ...clock,
          setTimer: (delayMs, fire, options) =>
            clock.setTimer(delayMs > 20_000 && delayMs < 31_000 ? 10 : delayMs, fire, options),
        },
        log,
        controller: 'countersign.dev/tests',
        instance: 'test-1',
        signal: stop.signal,
      });
      const event = { regarding, type: 'Warning', reason: 'TemplateFailed', action: 'Render', note: 'no field .X' } as const;
      for (let times = 0; times < 3; times += 1) recorder.record(event);
      await expect
        .poll(async () => {
          const [page] = await Array.fromAsync(client.list(EVENTS, { namespace }));
          return page?.items.map(({ note, series }) => [note, (series as { count: number } | undefined)?.count]);
        })
        .toEqual([['no field .X', 3]]);
      expect(await server.kubectl(['-n', namespace, 'events', '--for', 'configmap/subject'])).toContain('no field .X');
      expect(recorder.dropped).toBe(0);
      stop.abort();
    });
  });
}
