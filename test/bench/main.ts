// `npm run bench`: every figure of speed and size, each beside its limit or its peer from the same run.
// `npm run bench -- rates storm` runs some sections; `--seconds N` is the length of each measured
// load, `--rounds N` how often it is measured, `--only TEXT` picks rows; `--pods N` is the size of the cluster.
// SPIRE runs beside ours when SPIRE_BIN names the folder of its binaries.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { systemClock } from '../../core/clock.ts';
import { kubernetesMissing } from '../support/kubernetes/binaries.ts';
import { spireBinaries } from '../support/spire.ts';
import { measureAuthorization } from './authorization.ts';
import { measureEnforcement } from './enforcement.ts';
import { measureEnvoyRbac } from './envoy-rbac.ts';
import { measureExtAuthz } from './ext-authz.ts';
import { measureKubernetes } from './kubernetes/measure.ts';
import { measureLargeStore } from './large-store.ts';
import { measurePolicy } from './policy.ts';
import { measurePopulation } from './population.ts';
import { measureRates } from './rates.ts';
import { measureRecording } from './recording.ts';
import { formatFigures, meetsTarget, type Figure } from './report.ts';
import { measureSimulation } from './simulation.ts';
import { countersign, spire } from './stacks.ts';
import { measureStorm } from './storm.ts';

const ROOT = join(import.meta.dirname, '../..');
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: '' },
    pods: { type: 'string', default: '30000' },
    'skip-build': { type: 'boolean', default: false },
  },
});
const stacks = spireBinaries === undefined ? [countersign] : [countersign, spire];
const folder = mkdtempSync(join(tmpdir(), 'countersign-bench-'));

const SECTIONS: Readonly<Record<string, () => Promise<Figure[]>>> = {
  rates: () =>
    measureRates(stacks, folder, { seconds: Number(values.seconds), rounds: Number(values.rounds), only: values.only }),
  population: () => measurePopulation(stacks, folder),
  large: () => measureLargeStore(folder),
  storm: () => measureStorm(folder),
  policy: async () => [...measurePolicy(), ...(await measureSimulation('policy'))],
  authorization: () => measureAuthorization(folder),
  enforcement: measureEnforcement,
  'envoy-rbac': () => measureEnvoyRbac(folder),
  'ext-authz': () => measureExtAuthz(folder),
  recording: measureRecording,
  kubernetes: measureCluster,
};

process.exitCode = await main();

async function main(): Promise<number> {
  const wanted = positionals.length === 0 ? Object.keys(SECTIONS) : positionals;
  const unknown = wanted.find((name) => !(name in SECTIONS));
  if (unknown !== undefined || !(Number(values.seconds) > 0 && Number(values.rounds) > 0)) {
    process.stderr.write(
      `usage: npm run bench -- [--seconds N] [--rounds N] [--only TEXT] [--pods N] [--skip-build] [${Object.keys(SECTIONS).join('|')}]...\n`,
    );
    return 2;
  }
  if (!values['skip-build']) build();
  const figures: Figure[] = [];
  try {
    for (const name of wanted) {
      process.stderr.write(`${name}\n`);
      figures.push(...((await SECTIONS[name]?.()) ?? []));
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
    if (figures.length > 0) report(figures);
  }
  return 0;
}

async function measureCluster(): Promise<Figure[]> {
  const missing = kubernetesMissing();
  if (missing === undefined) return measureKubernetes(folder, Number(values.pods));
  process.stderr.write(`  skipped: ${missing}\n`);
  return [];
}

function build(): void {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'scripts/build.ts')], { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) throw new Error('the build failed');
}

function report(figures: readonly Figure[]): void {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`;
  const time = new Date(systemClock.nowMs()).toISOString();
  const results = join(ROOT, 'bench-results');
  mkdirSync(results, { recursive: true });
  const file = join(results, `${time.replaceAll(':', '-')}.json`);
  const rows = figures.map((figure) => ({ ...figure, meetsTarget: meetsTarget(figure) }));
  writeFileSync(file, `${JSON.stringify({ time, machine, figures: rows }, undefined, 2)}\n`);
  process.stdout.write(`${machine}\n\n${formatFigures(figures)}\n${file}\n`);
}
