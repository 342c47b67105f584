import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const PACKAGE = join(import.meta.dirname, '../..');

/** The command in one file that starts fast, as it is shipped; `path` is what Node runs. */
export async function buildCommand(): Promise<Disposable & { readonly path: string }> {
  // Below the package, so that the dependency with a native part is found.
  const outdir = join(PACKAGE, 'node_modules', '.countersign-test', `${process.pid}`);
  mkdirSync(outdir, { recursive: true });
  await build({
    absWorkingDir: PACKAGE,
    entryPoints: { countersign: 'cli/start.ts', 'signing-worker': 'ca/issue/signing-worker.ts' },
    outdir,
    bundle: true,
    splitting: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    external: ['koffi', 'pg-native'],
    // Some dependencies are CommonJS and call require() for Node's own modules.
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'silent',
  });
  return { path: join(outdir, 'countersign.js'), [Symbol.dispose]: () => rmSync(outdir, { recursive: true, force: true }) };
}
