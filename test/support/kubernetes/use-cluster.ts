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
  const provided = inject('cluster');
  if ('missing' in provided) throw new Error(provided.missing);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const ask = request({ socketPath: provided.socket }, (response) => {
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
    response.on('end', () => (response.statusCode === 200 ? resolve(text) : reject(new Error(text))));
  });
  ask.on('error', reject).end();
  // The cast is sound: the setup wrote it.
  return new Cluster(JSON.parse(await promise) as ClusterState);
}

function missing(): string | undefined {
  const provided = inject('cluster');
  return 'missing' in provided ? provided.missing : undefined;
}
