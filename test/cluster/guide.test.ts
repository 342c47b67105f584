// docs/kubernetes.md as a reader follows it: every block of commands, in order, in a cluster without Countersign.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runToEnd } from '../support/command.ts';
import type { Cluster } from '../support/kubernetes/cluster.ts';
import { Installation } from '../support/kubernetes/installation.ts';
import { lacking, noCluster, useCluster } from '../support/kubernetes/use-cluster.ts';

const ROOT = join(import.meta.dirname, '../..');

/** The `sh` blocks of the guide, each under the heading that it stands below. */
function blocks(): readonly (readonly [heading: string, commands: string])[] {
  const sections = readFileSync(join(ROOT, 'docs/kubernetes.md'), 'utf8').split(/^## /m).slice(1);
  return sections.flatMap((section) => {
    const heading = section.slice(0, section.indexOf('\n'));
    return [...section.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, commands = '']) => [heading, commands] as const);
  });
}

describe.skipIf(noCluster !== undefined)(`the guide for Kubernetes${lacking}`, () => {
  let cluster: Cluster;
  let installation: Installation;
  beforeAll(async () => {
    cluster = await useCluster();
    installation = await Installation.absent(cluster);
  });
  afterAll(async () => {
    await cluster?.kubectl(['delete', 'namespace', 'shop', '--ignore-not-found']);
  });

  it('has commands to run', () => {
    expect(blocks().length).toBeGreaterThan(3);
  });

  it.each(blocks().map(([heading, commands], index) => ({ heading, commands, number: index + 1 })))(
    'block $number, "$heading", works as it stands',
    async ({ commands }) => {
      const environment = {
        KUBECONFIG: cluster.state.kubeconfigFile,
        PATH: `${join(ROOT, 'node_modules/.bin')}:${process.env['PATH']}`,
      };
      const run = () => runToEnd('bash', ['-euo', 'pipefail', '-c', commands], { cwd: ROOT, environment });
      const { code, stdout, stderr } = await run();
      expect({ code, output: code === 0 ? '' : stdout + stderr }).toEqual({ code: 0, output: '' });
    },
  );

  it('leaves nothing behind', async () => {
    await expect.poll(() => installation.remains()).toEqual([]);
  });
});
