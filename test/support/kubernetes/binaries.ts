// The programs of Kubernetes: from `KUBEBUILDER_ASSETS` when that names a folder, else built once from the public Go modules.
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { cacheFolder, isInstalled } from '../toolchain.ts';
import { buildOnce, runGo } from './go-build.ts';

/** The newest minor version, the one that the real cluster runs, and the oldest one that Countersign supports. */
export const KUBERNETES = { current: 'v1.37.2', cluster: 'v1.36.3', oldest: 'v1.35.4' } as const;

/** What an API server needs. */
export const API_SERVER_BINARIES = ['etcd', 'kube-apiserver'] as const;

/** What a node and its control plane need. */
export const CLUSTER_BINARIES = [
  ...API_SERVER_BINARIES,
  'kube-controller-manager',
  'kube-scheduler',
  'kubelet',
  'kube-proxy',
] as const;

export type KubernetesBinary = (typeof CLUSTER_BINARIES)[number];

/** Which programs, of which version. */
export interface BinariesOptions {
  readonly version?: string;
  readonly names?: readonly KubernetesBinary[];
}

/** Repositories that are no part of Kubernetes' own and keep versions of their own. */
const OTHER_VERSIONS = /^k8s\.io\/(utils|kube-openapi|gengo)\b/;

const ETCD_MAIN = `package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
`;

/**
 * Why the programs cannot be had here; undefined when they can. A suite says it in its name and is skipped:
 *
 * @example describe.skipIf(kubernetesMissing() !== undefined)('watch against a real API server (needs go)', () => { … });
 */
export function kubernetesMissing(options: BinariesOptions = {}): string | undefined {
  if (assets(options) !== undefined || isInstalled('go')) return undefined;
  const { version, names, folder } = wanted(options);
  if (names.every((name) => existsSync(join(folder, name)))) return undefined;
  return `Kubernetes ${version} is built with go, which is not installed; or set KUBEBUILDER_ASSETS`;
}

/** The folder that holds the programs; builds those that are missing (an API server: 4 minutes with nothing cached, on two cores). */
export async function kubernetesBinaries(options: BinariesOptions = {}): Promise<string> {
  const given = assets(options);
  if (given !== undefined) return given;
  const { version, names, folder } = wanted(options);
  for (const name of names) await buildOnce(buildOf(name, version, join(folder, name)));
  return folder;
}

function wanted({ version = KUBERNETES.current, names = API_SERVER_BINARIES }: BinariesOptions) {
  return { version, names, folder: join(cacheFolder(), 'kubernetes', version) };
}

/** `KUBEBUILDER_ASSETS` holds programs of one version that it does not tell: it counts where no other version was asked for. */
function assets({ version = KUBERNETES.current, names = API_SERVER_BINARIES }: BinariesOptions): string | undefined {
  const folder = process.env['KUBEBUILDER_ASSETS'];
  if (folder === undefined || version !== KUBERNETES.current) return undefined;
  return names.every((name) => existsSync(join(folder, name))) ? folder : undefined;
}

function buildOf(name: KubernetesBinary, version: string, target: string) {
  const stamp = 'k8s.io/component-base/version';
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(version) ?? [];
  // Without these a node reports v0.0.0, which the API server's version skew policy refuses.
  const stamps = { [`${stamp}.gitVersion`]: version, [`${stamp}.gitMajor`]: major, [`${stamp}.gitMinor`]: minor };
  return {
    target,
    label: `${name} ${version}`,
    files: async () => ({ 'go.mod': await goMod(version), 'etcd/main.go': ETCD_MAIN }),
    ...(name === 'etcd' ? { package: './etcd' } : { package: `k8s.io/kubernetes/cmd/${name}`, stamps }),
  };
}

/**
 * A module that requires Kubernetes. Its own go.mod takes its parts from folders beside it, which a module outside of it
 * cannot: they are replaced with the published modules of the same version, v1.36.3 being v0.36.3 there.
 */
async function goMod(version: string): Promise<string> {
  const downloaded = await runGo(['mod', 'download', '-json', `k8s.io/kubernetes@${version}`], tmpdir());
  // The cast is sound: `go mod download` writes the path of what it downloaded under this name.
  const { GoMod } = JSON.parse(downloaded) as { readonly GoMod: string };
  return goModFor(version, readFileSync(GoMod, 'utf8'));
}

/** The go.mod for a version of Kubernetes, from that version's own go.mod. */
export function goModFor(version: string, kubernetesGoMod: string): string {
  const parts = [...kubernetesGoMod.matchAll(/(k8s\.io\/[a-z0-9-]+)(?: v0\.0\.0\s| => \.\/staging)/g)].map(
    ([, path = '']) => path,
  );
  const staging = [...new Set(parts)].filter((path) => !OTHER_VERSIONS.test(path)).sort();
  const header = kubernetesGoMod.split('\n').filter((line) => /^(go|godebug) /.test(line));
  return [
    'module countersign.dev/kubernetes',
    ...header,
    `require k8s.io/kubernetes ${version}`,
    ...staging.map((path) => `replace ${path} => ${path} ${version.replace('v1.', 'v0.')}`),
    '',
  ].join('\n');
}
