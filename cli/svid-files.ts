import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';

import type { X509Context } from '../client/x509-context.ts';
import { encodePem } from '../spiffe/certificate.ts';

/** The files that an X.509 context is written as. */
export interface SvidFiles {
  readonly svid: string;
  readonly key: string;
  readonly bundle: string;
}

/** What the files hold. */
type SvidFileContents = Readonly<Record<keyof SvidFiles, string>>;

/** The contents of the files of an X.509 context, of which only the default SVID is written. */
export function svidFileContents({ svids: [svid], bundles }: X509Context): SvidFileContents {
  const authorities = [...bundles].flatMap(({ x509Authorities }) => x509Authorities);
  return {
    svid: svid.chain.map(({ raw }) => encodePem('CERTIFICATE', raw)).join(''),
    key: svid.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    bundle: authorities.map(({ der }) => encodePem('CERTIFICATE', der)).join(''),
  };
}

/** Whether files with these contents are the same. */
export function isSameSvid(one: SvidFileContents, other: SvidFileContents): boolean {
  return one.svid === other.svid && one.key === other.key && one.bundle === other.bundle;
}

/**
 * Writes the default SVID as `svid.pem`, its key as `key.pem` (mode 0600) and the bundles as `bundle.pem`. Each file is
 * replaced in one step, the key last but one: a reader never sees half a file.
 */
export async function writeSvidFiles(folder: string, context: X509Context): Promise<SvidFiles> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const { svid, key, bundle } = svidFileContents(context);
  const files = { svid: join(folder, 'svid.pem'), key: join(folder, 'key.pem'), bundle: join(folder, 'bundle.pem') };
  await replaceFile(files.bundle, bundle, 0o644);
  await replaceFile(files.key, key, 0o600);
  await replaceFile(files.svid, svid, 0o644);
  return files;
}

/** Writes a file under a temporary name with its final mode, then renames it into place. */
export async function replaceFile(path: string, content: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  const file = await open(temporary, 'w', mode);
  try {
    await file.chmod(mode);
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
}
