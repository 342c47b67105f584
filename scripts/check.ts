// The static checks: types, lint, formatting. Prints what ran; exits 1 if one of them found something.
import { spawnSync } from 'node:child_process';

const CHECKS: readonly (readonly [name: string, command: readonly [string, ...string[]]])[] = [
  ['types', ['tsc', '-p', '.']],
  ['lint', ['oxlint', '--type-aware', '--deny-warnings']],
  ['format', ['oxfmt', '--check', '.']],
];

let failed = 0;
for (const [name, [command, ...args]] of CHECKS) {
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) failed += 1;
  console.log(`${status === 0 ? 'ok    ' : 'FAILED'} ${name}`);
}
process.exitCode = failed === 0 ? 0 : 1;
