// How a test file of the `cluster` project comes to the cluster.
import { request } from 'node:http';

import { inject } from 'vitest';

import { Cluster } from './cluster.ts';
import type { ClusterState } from './cluster.ts';

/**
 * Why no cluster can run here; undefined when one can.
 *
 * @example describe.skipIf(noCluster !== undefined)(`pods${noCluster ?? ''}`, () => { … });
 */
export const noCluster: string | undefined = missing();

/** What a suite's title ends with: nothing, or what it lacks. */
export const lacking = noCluster === undefined ? '' : ` (cannot run: ${noCluster})`;

/** The cluster; the first caller of a run waits until it is up. */
export async function useCluster(): Promise<Cluster> {
  // The cast is sound: the setup wrote it, and the images' references below.
  return new Cluster((await ask('/cluster')) as ClusterState);
}

/** The reference of the product's image of this checkout, known to the node also by the name that the manifests use. */
export async function productImage(): Promise<string> {
  return (await ask('/product')) as string;
}

/** The reference of an image with Node and `/usr/bin/workload`, known to the node. */
export async function workloadImage(): Promise<string> {
  return (await ask('/workload')) as string;
}

/** The reference of an image with `/usr/bin/envoy`, known to the node. */
export async function envoyImage(): Promise<string> {
  return (await ask('/envoy')) as string;
}

/** Asks the process of this run that holds the cluster. */
async function ask(path: string): Promise<unknown> {
  const provided = inject('cluster');
  if ('missing' in provided) throw new Error(provided.missing);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const outgoing = request({ socketPath: provided.socket, path }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
  });
  outgoing.on('error', reject).end();
  return JSON.parse(await promise);
}

function missing(): string | undefined {
  const provided = inject('cluster');
  return 'missing' in provided ? provided.missing : undefined;
}
