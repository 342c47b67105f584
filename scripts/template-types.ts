// Writes controller/template/kubernetes-types.ts from the Go types, and says whether it is current. Needs go.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const file = join(root, 'controller', 'template', 'kubernetes-types.ts');

/** The file as it is, and as the Go types that test/go pins would have it. */
export function templateTypes(): { committed: string; current: string } {
  const committed = readFileSync(file, 'utf8');
  const table = execFileSync('go', ['run', './cmd/template-types'], { cwd: join(root, 'test', 'go'), encoding: 'utf8' });
  const start = committed.indexOf('`\n') + 2;
  return { committed, current: `${committed.slice(0, start)}${table}\`;\n` };
}

if (import.meta.main) writeFileSync(file, templateTypes().current);
