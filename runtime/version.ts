import { readFileSync } from 'node:fs';

const PACKAGE_FILE = new URL('../package.json', import.meta.url);
let version: string | undefined;

/** The version of this program, such as `0.1.0`: that of package.json, which lies beside the folder of this file, built or not. */
export function productVersion(): string {
  // The cast is sound: it is our own package.json.
  version ??= (JSON.parse(readFileSync(PACKAGE_FILE, 'utf8')) as { version: string }).version;
  return version;
}
