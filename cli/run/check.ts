import { homedir } from 'node:os';
import { join } from 'node:path';

import { systemClock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { connectCa } from '../ca-connection.ts';
import { checkCa, type CaReport } from '../check/ca-check.ts';
import { formatFindings, summarize, type Finding } from '../check/finding.ts';
import type { CommandRun, Invocation } from '../command.ts';

/** `countersign check` */
export const check: CommandRun = async (invocation) => {
  const report = isLocal(invocation) ? await localReport(invocation) : { findings: await clusterFindings(invocation) };
  const { findings } = report;
  const { terminal } = invocation;
  const output = invocation.text('output') ?? 'text';
  if (output === 'json') terminal.write(`${JSON.stringify(report, undefined, 2)}\n`);
  else if (output === 'text') terminal.write(formatFindings(findings, { colors: hasColors(invocation) }) + summarize(findings));
  else throw new IdentityError('invalid_argument', `--output ${output} is unknown; use text or json`);
  // What could not be looked at may be what is wrong.
  return findings.some(({ level }) => level === 'error' || level === 'unknown') ? 1 : 0;
};

/** One CA by itself, wherever it runs, instead of an installation in Kubernetes. */
function isLocal(invocation: Invocation): boolean {
  return ['socket', 'config', 'server'].some((option) => invocation.text(option) !== undefined);
}

async function localReport(invocation: Invocation): Promise<Partial<CaReport> & { readonly findings: readonly Finding[] }> {
  const subject = invocation.text('subject') ?? 'ca';
  try {
    using connection = await connectCa(invocation);
    return await checkCa(connection, subject);
  } catch (error) {
    const text = error instanceof Error ? error.message : 'does not answer';
    const remedy = 'is the CA running, and may you open its socket? Its log says more';
    return { findings: [{ level: 'error', subject, text, remedy }] };
  }
}

async function clusterFindings(invocation: Invocation): Promise<readonly Finding[]> {
  const { openKubeClient } = await import('../../runtime/kubernetes/client.ts');
  const { ClusterAccess } = await import('../check/cluster-access.ts');
  const { checkCluster } = await import('../check/cluster-check.ts');
  const { createLogger } = await import('../../runtime/log.ts');
  const { environment } = invocation.terminal;
  const kubeconfigFile = invocation.text('kubeconfig') ?? environment['KUBECONFIG'] ?? join(homedir(), '.kube/config');
  const context = invocation.text('context');
  using client = await openKubeClient({
    kubeconfigFile,
    ...(context === undefined ? {} : { context }),
    clock: systemClock,
    log: createLogger({ level: 'fatal', name: 'check' }),
  });
  const installation = {
    systemNamespace: invocation.text('namespace') ?? 'countersign-system',
    agentNamespace: invocation.text('agent-namespace') ?? 'countersign-agents',
  };
  return await checkCluster(new ClusterAccess(client, { installation, kubeconfigFile, context }));
}

function hasColors({ terminal }: Invocation): boolean {
  return terminal.environment['NO_COLOR'] === undefined && process.stdout.isTTY;
}
