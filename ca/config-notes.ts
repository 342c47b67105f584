import { access, constants } from 'node:fs/promises';

import type { CaConfig } from './config.ts';
import type { Clusters } from './kubernetes/config.ts';

/** What a configuration says that will have no effect: nothing is wrong with it, but somebody may wait for it in vain. */
export function notesOn({ listen, jwtIssuer, publicTls, federation, ttl, tokenExchange }: CaConfig): readonly string[] {
  const notes: string[] = [];
  if (listen.public === undefined) {
    if (jwtIssuer !== undefined)
      notes.push('jwtIssuer: tokens carry it, but discovery and keys are not served without listen.public');
    if (publicTls !== undefined) notes.push('publicTls: has no effect without listen.public');
    if (federation.endpoint !== undefined) notes.push('federation.endpoint: the bundle is not served without listen.public');
  } else if (jwtIssuer === undefined && federation.endpoint === undefined) {
    notes.push('listen.public: serves nothing without jwtIssuer or federation.endpoint');
  }
  if (tokenExchange !== undefined && listen.token === undefined)
    notes.push('tokenExchange: nobody is served without listen.token');
  if (tokenExchange === undefined && listen.token !== undefined) notes.push('listen.token: serves nothing without tokenExchange');
  for (const kind of ['x509Svid', 'jwtSvid', 'witSvid', 'agentSvid'] as const) {
    if (ttl[kind].ms > ttl.ca.ms) notes.push(`ttl.${kind}: is cut to what is left of the authority (ttl.ca)`);
  }
  return notes;
}

function kubeconfigsOf({
  attestors,
  adminLogin,
  kubernetes,
}: CaConfig): readonly (readonly [key: string, file: string | undefined])[] {
  const ofClusters = (key: string, clusters: Clusters<{ readonly kubeconfigFile: string | undefined }> | undefined) =>
    [...(clusters ?? [])].map(([name, { kubeconfigFile }]) => [`${key}.clusters.${name}.kubeconfig`, kubeconfigFile] as const);
  return [
    ...ofClusters('attestors.k8sPsat', attestors.k8sPsat?.clusters),
    ...ofClusters('adminLogin', adminLogin?.clusters),
    ['kubernetes.bundleConfigMap.kubeconfig', kubernetes?.bundleConfigMap?.kubeconfigFile],
  ];
}

/** The files that a configuration names but that cannot be read, with the key that names each. */
export async function unreadableFiles(config: CaConfig): Promise<readonly string[]> {
  const { store, upstream, attestors, publicTls, federation, tokenExchange } = config;
  const named: readonly (readonly [key: string, file: string | undefined])[] = [
    ['store.urlFile', store.kind === 'postgres' ? store.urlFile : undefined],
    ['upstream.disk.certFile', upstream?.disk.certFile],
    ['upstream.disk.keyFile', upstream?.disk.keyFile],
    ['upstream.disk.bundleFile', upstream?.disk.bundleFile],
    ...(attestors.x509pop?.caFiles ?? []).map((file) => ['attestors.x509pop.caFile', file] as const),
    ['publicTls.certFile', publicTls?.certFile],
    ['publicTls.keyFile', publicTls?.keyFile],
    ['tokenExchange.tls.certFile', tokenExchange?.tls?.certFile],
    ['tokenExchange.tls.keyFile', tokenExchange?.tls?.keyFile],
    ...(tokenExchange?.webRootFiles ?? []).map((file) => ['tokenExchange.webRootFiles', file] as const),
    ...kubeconfigsOf(config),
    ...federation.webRootFiles.map((file) => ['federation.webRootFiles', file] as const),
  ];
  const faults = await Promise.all(
    named.map(async ([key, file]) => {
      if (file === undefined) return undefined;
      return access(file, constants.R_OK).then(
        () => undefined,
        (error: Error) => `${key}: cannot be read (${error.message})`,
      );
    }),
  );
  return faults.filter((fault) => fault !== undefined);
}
