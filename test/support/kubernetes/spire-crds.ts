// SPIRE's own CustomResourceDefinitions: from the folder that SPIRE_CRDS names, else from its public Go module.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { isInstalled } from '../toolchain.ts';

const MODULE = 'github.com/spiffe/spire-controller-manager@v0.6.4';
const NAMES = ['clusterspiffeids', 'clusterstaticentries', 'clusterfederatedtrustdomains'];

/** The files, or why they cannot be had here. */
export type SpireCrds =
  | { readonly files: readonly string[]; readonly missing?: never }
  | { readonly missing: string; readonly files?: never };

/**
 * The definitions of ClusterSPIFFEID, ClusterStaticEntry and ClusterFederatedTrustDomain, as they are published. Where they
 * cannot be had, a suite says why and is skipped:
 *
 * @example
 * const { files = [], missing } = await spireCrds();
 * describe.skipIf(missing !== undefined)(`SPIRE's kinds${missing === undefined ? '' : ` (${missing})`}`, () => {
 *   … TestApiServer.start({ crds: files })
 */
export async function spireCrds(): Promise<SpireCrds> {
  const given = process.env['SPIRE_CRDS'];
  if (given !== undefined) return filesIn(given);
  if (!isInstalled('go')) return { missing: "needs go, or SPIRE_CRDS naming a folder with SPIRE's CRDs" };
  try {
    const { stdout } = await promisify(execFile)('go', ['mod', 'download', '-json', MODULE], { cwd: tmpdir() });
    // The cast is sound: `go mod download` writes the folder of what it downloaded under this name.
    const { Dir } = JSON.parse(stdout) as { readonly Dir: string };
    return filesIn(join(Dir, 'config', 'crd', 'bases'));
  } catch {
    return {
      missing: `needs the Go module ${MODULE}, which cannot be downloaded here; or SPIRE_CRDS naming a folder with its CRDs`,
    };
  }
}

function filesIn(folder: string): SpireCrds {
  const files = NAMES.map((name) => join(folder, `spire.spiffe.io_${name}.yaml`));
  const absent = files.find((file) => !existsSync(file));
  return absent === undefined ? { files } : { missing: `there is no ${absent}` };
}
