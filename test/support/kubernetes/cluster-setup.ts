// Brings the real cluster up once for a run of the cluster tests, when the first of them asks, and down after the last.
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import type { TestProject } from 'vitest/node';

import { openKernel } from '../../../runtime/kernel.ts';
import { cacheFolder } from '../toolchain.ts';
import { clusterMissing } from './cluster-missing.ts';
import { clusterFolder, runningCluster, startCluster, stopCluster } from './cluster.ts';
import type { Cluster } from './cluster.ts';
import { buildEnvoyImage, buildProductImage, buildWorkloadImage } from './image.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Where a test file asks for the cluster, or why there is none. */
    readonly cluster: { readonly socket: string } | { readonly missing: string };
  }
}

/**
 * vitest calls it before any test of any project, and what it returns after the last: too early to start a cluster that would
 * idle beside the others. So test files ask this process for it, whose end is also the cluster's.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const missing = clusterMissing();
  if (missing !== undefined) {
    project.provide('cluster', { missing });
    return async () => {};
  }
  const folder = mkdtempSync(join(tmpdir(), 'countersign-cluster-'));
  let lease: Promise<Lease> | undefined;
  const known = new Map<string, Promise<unknown>>();
  const answer = async (path: string): Promise<unknown> => {
    lease ??= takeCluster();
    const { cluster } = await lease;
    if (path === '/cluster') return cluster.state;
    const answered = known.get(path) ?? loadImage(cluster, path);
    known.set(path, answered);
    return answered;
  };
  const server = createServer((incoming, response) => {
    answer(incoming.url ?? '').then(
      (value) => response.end(JSON.stringify(value)),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? `${error.message}: ${String(error.cause)}` : ''),
    );
  });
  const socket = join(folder, 'socket');
  await once(server.listen(socket), 'listening');
  project.provide('cluster', { socket });
  return async () => {
    server.close();
    rmSync(folder, { recursive: true });
    await (await lease?.catch(() => undefined))?.release();
  };
}

/** Builds an image of this checkout and makes it known to the node. @returns its reference */
async function loadImage(cluster: Cluster, path: string): Promise<string> {
  if (path === '/product') return cluster.loadImage(buildProductImage());
  return cluster.loadImage(path === '/envoy' ? await buildEnvoyImage() : await buildWorkloadImage());
}

interface Lease {
  readonly cluster: Cluster;
  readonly release: () => Promise<void>;
}

/** The cluster that is up, which is left as it is afterwards, or one of this run. */
async function takeCluster(): Promise<Lease> {
  const lock = await lockCluster();
  const running = runningCluster();
  const started = performance.now();
  const cluster = running ?? (await startCluster({ endsWithUs: true }));
  if (running === undefined)
    process.stderr.write(`cluster: ready after ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
  const release = async (): Promise<void> => {
    if (running === undefined) await stopCluster(cluster);
    await lock[Symbol.asyncDispose]();
  };
  return { cluster, release };
}

/** One run at a time: they would take away each other's namespaces. */
async function lockCluster(): Promise<AsyncDisposable> {
  mkdirSync(cacheFolder(), { recursive: true });
  const file = await open(`${clusterFolder()}.lock`, 'w');
  for (let attempt = 0; !openKernel().tryLock(file.fd); attempt += 1) {
    if (attempt % 60 === 0) process.stderr.write('cluster: another test run uses it; waiting\n');
    await sleep(500);
  }
  return file;
}
