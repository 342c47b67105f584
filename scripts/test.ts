// `npm test`: static checks, then every suite against the real clients. Closes with one line `N passed, N failed, N skipped`
// and names each suite that was skipped with what it lacked.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { writeConformance } from './conformance.ts';

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
}

const folder = mkdtempSync(join(tmpdir(), 'countersign-test-'));
const outputFile = join(folder, 'report.json');
const checks = spawnSync('node', ['scripts/check.ts'], { stdio: 'inherit' });
const selection = process.argv.slice(2);
// Coverage says something about a full run only.
const coverage = selection.length === 0 ? ['--coverage'] : [];
const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${outputFile}`];
const run = spawnSync('vitest', ['run', ...reporters, ...coverage, ...selection], { stdio: 'inherit' });
const report = readReport(outputFile);
// A part of the tests says nothing of the rest, so only a whole run writes the table.
if (process.argv.length === 2) writeConformance([outputFile]);
rmSync(folder, { recursive: true });

const brokenFiles = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
);
const skipped = report.testResults.flatMap(({ assertionResults }) =>
  assertionResults.filter(({ status }) => status !== 'passed' && status !== 'failed'),
);
for (const { fullName } of skipped) console.log(`skipped: ${fullName}`);
for (const { name } of brokenFiles) console.log(`could not run: ${name}`);
const checksFailed = checks.status === 0 ? 0 : 1;
const testsFailed = report.numFailedTests + brokenFiles.length;
const runnerFailed = testsFailed === 0 && run.status !== 0 ? 1 : 0;
if (runnerFailed > 0) console.log('failed: coverage below its threshold, or an error outside of a test; see above');
const failed = testsFailed + checksFailed + runnerFailed;
console.log(`\n${report.numPassedTests + (1 - checksFailed)} passed, ${failed} failed, ${skipped.length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function readReport(file: string): Report {
  // The cast is sound: vitest wrote the file in this form.
  return JSON.parse(readFileSync(file, 'utf8')) as Report;
}
