import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { REFUSALS } from '../../../policy/normalize/refusal.ts';

const ROOT = join(import.meta.dirname, '../../..');
const GUIDE = readFileSync(join(ROOT, 'docs/authorization.md'), 'utf8');

/** The codes in the first column of the tables that come with a column `reason`. */
const documented = new Set(
  [...GUIDE.matchAll(/^\| reason \|[^]*?\n\n/gm)].flatMap(([table]) =>
    [...table.matchAll(/^\| (`[^|]*)/gm)].flatMap(([, cell = '']) =>
      [...cell.matchAll(/`([a-z_0-9]+)`/g)].map(([, code = '']) => code),
    ),
  ),
);

/** What is written like a reason where calls are decided, and is none. */
const OTHERS =
  /^(?:countersign_.*|failed_precondition|invalid_argument|deadline_exceeded|permission_denied|resource_exhausted|invalid_request|not_found|ext_authz|access_log|too_large|method_not_allowed)$/;

test('every reason has its line in docs/authorization.md', () => {
  const sources = globSync(
    ['agent/{authz,http-authz}/*.ts', 'agent/envoy/*.ts', 'policy/{model,decide}.ts', 'client/authorization.ts'],
    {
      cwd: ROOT,
    },
  );
  const codes = sources
    .flatMap((file) =>
      [...readFileSync(join(ROOT, file), 'utf8').matchAll(/'([a-z]+(?:_[a-z0-9]+)+)'/g)].map(([, code = '']) => code),
    )
    .filter((code) => !OTHERS.test(code));
  expect(codes.length).toBeGreaterThan(20);
  expect([...new Set([...codes, ...REFUSALS])].filter((code) => !documented.has(code))).toEqual([]);
});

test('every line of docs/authorization.md is of a reason that there is', () => {
  const sources = globSync(['{agent,client,policy}/**/*.ts'], { cwd: ROOT }).map((file) =>
    readFileSync(join(ROOT, file), 'utf8'),
  );
  const all = sources.join('\n');
  expect(documented.size).toBeGreaterThan(30);
  expect([...documented].filter((code) => !all.includes(`'${code}'`))).toEqual([]);
});
