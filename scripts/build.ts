// Builds what the npm package holds: the command and the client library as bundles that start fast (one file to read instead
// of hundreds), and the type declarations of the library.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';

import { build } from 'esbuild';

rmSync('dist', { recursive: true, force: true });
await build({
  entryPoints: { countersign: 'cli/start.ts', client: 'client/index.ts', 'signing-worker': 'ca/issue/signing-worker.ts' },
  outdir: 'dist',
  bundle: true,
  splitting: true,
  platform: 'node',
  target: 'node24',
  format: 'esm',
  minifySyntax: true,
  minifyWhitespace: true,
  sourcemap: false,
  legalComments: 'linked',
  // koffi loads a native file beside itself; pg looks for a native driver that we do not use.
  external: ['koffi', 'pg-native'],
  // Some dependencies are CommonJS and call require() for Node's own modules.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
const declarations = spawnSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
process.exitCode = declarations.status ?? 1;
