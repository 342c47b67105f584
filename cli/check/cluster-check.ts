import { systemClock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { accessFindings } from './access.ts';
import {
  POD_CERTIFICATE_REQUESTS,
  VALIDATING_ADMISSION_POLICIES,
  VALIDATING_ADMISSION_POLICY_BINDINGS,
} from '../../runtime/kubernetes/resource-types.ts';
import { bundleFindings } from './bundles.ts';
import type { CaReport } from './ca-check.ts';
import { offsetFinding } from './ca-findings.ts';
import type { ClusterAccess, InstalledPod } from './cluster-access.ts';
import { checked, type Finding } from './finding.ts';
import { agentFindings, csiFindings } from './nodes.ts';
import { resourceFindings } from './resources.ts';
import { findPods, workloadFindings } from './workloads.ts';

const CONTROLLER_PORT = 8080;
/** What runs inside a CA's pod: the same check, over its private socket. */
const CHECK_IN_POD = ['/usr/bin/node', '/opt/countersign/dist/countersign.js', 'check', '--output', 'json'];
const REQUESTER_POLICY = 'countersign-pod-certificates';
const CA_CONFIG = ['--config', '/etc/countersign/ca.yaml'];

/** Looks at a whole installation, from the outside in: API server, processes, bundle, nodes, resources. */
export async function checkCluster(cluster: ClusterAccess): Promise<readonly Finding[]> {
  const pods = await findPods(cluster);
  const reports: CaReport[] = [];
  const steps = [
    checked('API server', 'check the kubeconfig with `kubectl version`', () => apiServerFindings(cluster)),
    checked('installation', 'may you read workloads in its namespaces?', () => workloadFindings(cluster, pods)),
    checked('roles', 'may you create subjectaccessreviews?', () => accessFindings(cluster)),
    checked('pod certificates', 'may you read admission policies?', () => policyFindings(cluster)),
    ...pods.cas.map((pod) =>
      checked(`ca ${pod.name}`, `kubectl -n ${pod.namespace} logs ${pod.name}`, async () => {
        const report = await caReport(cluster, pod);
        reports.push(report);
        return report.findings;
      }),
    ),
    ...pods.controllers.map((pod) =>
      checked(`controller ${pod.name}`, `kubectl -n ${pod.namespace} logs ${pod.name}`, () => controllerFindings(cluster, pod)),
    ),
    checked('agents', 'may you use pods/proxy in their namespace?', () =>
      agentFindings(cluster, { agents: pods.agents, nowMs: () => systemClock.nowMs() }),
    ),
    checked('CSI driver', 'may you read csidrivers and csinodes?', () => csiFindings(cluster, pods.agents)),
    checked('resources', 'may you read our resources?', () => resourceFindings(cluster, systemClock.nowMs())),
  ];
  const findings = (await Promise.all(steps)).flat();
  const bundles = await checked('bundle', 'may you read config maps?', async () => bundlesOf(cluster, reports));
  return [...findings, ...bundles];
}

async function apiServerFindings(cluster: ClusterAccess): Promise<readonly Finding[]> {
  const subject = 'API server';
  const { text, dateMs } = await cluster.client.rawDated('/version');
  // The cast is sound as far as it goes: a field that is not there reads as undefined.
  const { gitVersion } = JSON.parse(text) as { gitVersion?: string };
  const found = (level: Finding['level'], said: string, remedy?: string): Finding => {
    return { level, subject, text: said, ...(remedy === undefined ? {} : { remedy }) };
  };
  const clock = dateMs === undefined ? [] : [offsetFinding(dateMs - systemClock.nowMs(), found)];
  return [found('ok', `answers, version ${gitVersion ?? 'unknown'}`), ...clock];
}

/** Without the policy anybody may ask for the certificate of a pod of a node that is not theirs. */
async function policyFindings(cluster: ClusterAccess): Promise<readonly Finding[]> {
  const subject = 'pod certificates';
  if ((await cluster.client.firstServed(POD_CERTIFICATE_REQUESTS)) === undefined) return [];
  const types = [VALIDATING_ADMISSION_POLICIES, VALIDATING_ADMISSION_POLICY_BINDINGS];
  const found = await Promise.all(types.map((type) => cluster.client.find(type, { name: REQUESTER_POLICY })));
  const missing = types.filter((_, index) => found[index] === undefined).map(({ kind }) => kind);
  if (missing.length === 0) return [{ level: 'ok', subject, text: "only a node's own kubelet may ask for them" }];
  const text = `anybody may ask for them: ${missing.join(' and ')} ${REQUESTER_POLICY} is missing`;
  return [{ level: 'error', subject, text, remedy: 'kubectl apply -k your overlay' }];
}

async function caReport(cluster: ClusterAccess, pod: InstalledPod): Promise<CaReport> {
  const subject = `ca ${pod.name}`;
  const { stdout, stderr } = await cluster.exec(pod, 'ca', [...CHECK_IN_POD, ...CA_CONFIG, '--subject', subject]);
  try {
    // The cast is sound: it is our own command's answer; another version's lacks nothing that is read here.
    return JSON.parse(stdout) as CaReport;
  } catch (cause) {
    throw new IdentityError('unavailable', `its own check failed: ${stderr.trim() || 'no answer'}`, { cause });
  }
}

async function controllerFindings(cluster: ClusterAccess, pod: InstalledPod): Promise<readonly Finding[]> {
  const subject = `controller ${pod.name}`;
  if (!pod.ready) return [];
  const { text } = await cluster.http(pod, CONTROLLER_PORT, '/readyz');
  return [{ level: 'ok', subject, text: 'ready' }, ...degradedFindings(text, subject)];
}

/** What a ready process says is amiss all the same, such as deletions that are held back. */
export function degradedFindings(readiness: string, subject: string): readonly Finding[] {
  // The cast is sound as far as it goes: it is our own answer, and what another version's lacks reads as undefined.
  const { checks = {} } = JSON.parse(readiness) as { checks?: Readonly<Record<string, { readonly reason?: string }>> };
  const remedy = 'docs/operating.md, "Entries that nothing declares", says what to do';
  return Object.values(checks).flatMap((check) => {
    const { reason = '' } = check;
    return reason.startsWith('degraded: ')
      ? [{ level: 'warning', subject, text: reason.slice('degraded: '.length), remedy }]
      : [];
  });
}

async function bundlesOf(cluster: ClusterAccess, reports: readonly CaReport[]): Promise<readonly Finding[]> {
  const [first] = reports;
  if (first === undefined) {
    return [{ level: 'unknown', subject: 'bundle', text: 'not compared: no CA answered', remedy: 'see the CA above' }];
  }
  const disagreeing = reports.filter(({ authorities }) => authorities.join() !== first.authorities.join());
  const replicas: readonly Finding[] =
    disagreeing.length === 0
      ? []
      : [
          {
            level: 'error',
            subject: 'bundle',
            text: 'the CA replicas publish different bundles',
            remedy: 'see the store in their /readyz',
          },
        ];
  return [...replicas, ...(await bundleFindings(cluster, first.authorities))];
}
