import { readFile } from 'node:fs/promises';
import type { Clock } from '../../core/clock.ts';
import { IdentityError } from '../../core/errors.ts';
import { parsePemCertificates, type Certificate } from '../../spiffe/certificate.ts';
import type { TrustDomain } from '../../spiffe/trust-domain.ts';
import type { AttestorsConfig } from '../config.ts';
import type { Store } from '../store/store.ts';
import type { KubeClients } from '../kubernetes/clusters.ts';
import { createJoinTokenAttestor } from './join-token.ts';
import { createK8sPsatAttestor } from './k8s-psat.ts';
import type { NodeAttestor } from './node-attestor.ts';
import { createX509PopAttestor } from './x509pop.ts';

/** What the attestors need. */
export interface AttestorsOptions {
  readonly config: AttestorsConfig;
  readonly trustDomain: TrustDomain;
  readonly store: Store;
  readonly clock: Clock;
  readonly kubernetes: KubeClients;
}

/** The configured node attestors by type. @throws IdentityError `failed_precondition` when a file cannot be used */
export async function loadAttestors({
  config,
  kubernetes,
  ...common
}: AttestorsOptions): Promise<ReadonlyMap<string, NodeAttestor>> {
  const attestors: NodeAttestor[] = [];
  if (config.joinToken !== undefined) attestors.push(createJoinTokenAttestor(common));
  if (config.x509pop !== undefined) {
    const roots = (await Promise.all(config.x509pop.caFiles.map(readRoots))).flat();
    attestors.push(createX509PopAttestor({ ...common, roots, maxIntermediates: config.x509pop.maxIntermediates }));
  }
  if (config.k8sPsat !== undefined) {
    const clusters = await kubernetes.clusters(config.k8sPsat.clusters);
    attestors.push(createK8sPsatAttestor({ trustDomain: common.trustDomain, clusters }));
  }
  return new Map(attestors.map((attestor) => [attestor.type, attestor]));
}

async function readRoots(file: string): Promise<readonly Certificate[]> {
  try {
    const roots = parsePemCertificates(await readFile(file, 'utf8'));
    if (roots.length > 0) return roots;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unknown reason';
    throw new IdentityError('failed_precondition', `cannot read the roots of attestors.x509pop from ${file}: ${why}`, { cause });
  }
  throw new IdentityError('failed_precondition', `${file} holds no certificate; attestors.x509pop needs the roots of the nodes`);
}
