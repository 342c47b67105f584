// Writes docs/conformance.md from what the tests did: one row for each MUST and SHOULD of the SPIFFE standards and for each
// RPC of the SPIRE APIs. Usage: node scripts/conformance.ts REPORT.json… (vitest's JSON reports)
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import type { DescService } from '@bufbuild/protobuf';
import { parse } from 'yaml';

import { DelegatedIdentity } from '../proto/gen/spire/api/agent/delegatedidentity/v1/delegatedidentity_pb.ts';
import { Debug as AgentDebug } from '../proto/gen/spire/api/agent/debug/v1/debug_pb.ts';
import { Logger as AgentLogger } from '../proto/gen/spire/api/agent/logger/v1/logger_pb.ts';
import { Agent } from '../proto/gen/spire/api/server/agent/v1/agent_pb.ts';
import { Bundle } from '../proto/gen/spire/api/server/bundle/v1/bundle_pb.ts';
import { Debug } from '../proto/gen/spire/api/server/debug/v1/debug_pb.ts';
import { Entry } from '../proto/gen/spire/api/server/entry/v1/entry_pb.ts';
import { LocalAuthority } from '../proto/gen/spire/api/server/localauthority/v1/localauthority_pb.ts';
import { Logger } from '../proto/gen/spire/api/server/logger/v1/logger_pb.ts';
import { SVID } from '../proto/gen/spire/api/server/svid/v1/svid_pb.ts';
import { TrustDomain } from '../proto/gen/spire/api/server/trustdomain/v1/trustdomain_pb.ts';

const ROOT = join(import.meta.dirname, '..');

/** One test of a vitest report. */
export interface TestResult {
  /** Path below the project's folder. */
  readonly file: string;
  /** The titles of its describe blocks and its own, joined. */
  readonly fullName: string;
  readonly title: string;
  readonly status: string;
}

/** One statement of a standard. */
export interface Requirement {
  readonly standard: string;
  readonly section: string;
  readonly level: string;
  readonly statement: string;
  readonly words: RegExp;
  /** Why no test is needed, where none is. */
  readonly note: string | undefined;
  /** Further sections whose tests count. */
  readonly also: readonly string[];
}

/** Reads the committed list of requirements. */
export function readRequirements(): readonly Requirement[] {
  // The cast is sound: the file is ours, and a test reads it as well.
  const standards = parse(readFileSync(join(ROOT, 'test/conformance/requirements.yaml'), 'utf8')) as Readonly<
    Record<string, readonly (readonly [string, string, string, string?, (string | null)?, (readonly string[])?])[]>
  >;
  return Object.entries(standards).flatMap(([standard, rows]) =>
    rows.map(([section, level, statement, words = '', note = null, also = []]) => ({
      standard,
      section,
      level,
      statement,
      words: new RegExp(words, 'i'),
      note: note ?? undefined,
      also,
    })),
  );
}

/** Reads the tests of vitest's JSON reports. */
export function readReports(files: readonly string[]): readonly TestResult[] {
  return files.flatMap((file) => {
    // The cast is sound: vitest writes its reports in this form.
    const { testResults } = JSON.parse(readFileSync(file, 'utf8')) as {
      testResults: { name: string; assertionResults: { fullName: string; title: string; status: string }[] }[];
    };
    return testResults.flatMap(({ name, assertionResults }) =>
      assertionResults.map(({ fullName, title, status }) => ({
        file: name.slice(name.indexOf('/test/') + 1),
        fullName,
        title,
        status,
      })),
    );
  });
}

/** The whole document. */
export function formatConformance(tests: readonly TestResult[], requirements: readonly Requirement[]): string {
  const rows = requirements.map((requirement) => ({ requirement, tests: testsOf(requirement, tests) }));
  const standards = [...new Set(requirements.map(({ standard }) => standard))];
  return `${[
    '# Conformance',
    '',
    'Written by `npm test`; edits are overwritten. A row says which tests bear on it, with which client, and how they ended.',
    '"Not tested" means just that. Statements are in our own words: the standards themselves are what counts.',
    '',
    summaryOf(rows),
    '',
    ...standards.flatMap((standard) => [
      `## ${standard}`,
      '',
      '| § | level | statement | tests | client | result |',
      '| --- | --- | --- | --- | --- | --- |',
      ...rows.filter(({ requirement }) => requirement.standard === standard).map(formatRequirement),
      '',
    ]),
    '## SPIRE APIs',
    '',
    '| RPC | tests | client | result |',
    '| --- | --- | --- | --- |',
    ...SERVICES.flatMap((service) => service.methods.map(({ name }) => formatRpc(service, name, tests))),
  ].join('\n')}\n`;
}

interface RequirementRow {
  readonly requirement: Requirement;
  readonly tests: readonly TestResult[];
}

function summaryOf(rows: readonly RequirementRow[]): string {
  const results = rows.map(({ requirement, tests }) => resultOf(tests, requirement.note).replace(/ .*/, ''));
  const count = (word: string): number => results.filter((result) => result === word).length;
  return (
    `Of ${rows.length} statements ${count('passed')} passed, ${count('FAILED')} failed, ${count('skipped')} were skipped ` +
    `(their client was absent), ${count('not')} are not tested, and ${count('–')} are the duty of others or covered elsewhere.`
  );
}

function formatRequirement({ requirement, tests }: RequirementRow): string {
  const { section, level, statement, note } = requirement;
  const about = tests.length === 0 && note !== undefined ? note : titlesOf(tests);
  return tableRow([section, level, statement, about, clientsOf(tests), resultOf(tests, note)]);
}

function formatRpc(service: DescService, method: string, tests: readonly TestResult[]): string {
  const short = shortName(service);
  const path = `${service.typeName}/${method}`;
  const own = tests
    .filter(({ fullName }) => fullName.includes(path) || rpcTags(fullName).some((tag) => namesRpc(tag, short, method)))
    .map((test) => ({ ...test, title: describeProbe(test, path) }));
  return tableRow([`\`${short}.${method}\``, titlesOf(own), clientsOf(own), resultOf(own, undefined)]);
}

/** Tests that go through all RPCs have the RPC as their title. */
function describeProbe({ fullName, title }: TestResult, path: string): string {
  if (fullName.includes('[SPIRE authorization]')) return 'who may call it';
  return title.replace(path, '').trim() === '' ? 'a call' : title.replace(`${path} `, '').replace(path, 'it');
}

const SERVICES: readonly DescService[] = [
  Agent,
  Entry,
  SVID,
  Bundle,
  TrustDomain,
  LocalAuthority,
  Logger,
  Debug,
  DelegatedIdentity,
  AgentDebug,
  AgentLogger,
];

/** `entry.v1` for `spire.api.server.entry.v1.Entry`; the agent's services keep their `agent.`. */
function shortName({ typeName }: DescService): string {
  const path = typeName.replace(/^spire\.api\./, '').replace(/\.[^.]+$/, '');
  return path.startsWith('server.') ? path.slice('server.'.length) : `agent:${path.slice('agent.'.length)}`;
}

const tagsOf = (fullName: string): string[] => [...fullName.matchAll(/\[([^\]]+)\]/g)].map(([, tag = '']) => tag);
const rpcTags = (fullName: string): string[] => tagsOf(fullName).filter((tag) => tag.startsWith('SPIRE '));

/** Whether a tag such as `SPIRE entry.v1.GetEntry, CountEntries` or `SPIRE entry.v1, Go` (all RPCs of it) names an RPC. */
function namesRpc(tag: string, service: string, method: string): boolean {
  const [first = '', ...more] = tag.slice('SPIRE '.length).split(/, */);
  const others = more.filter((word) => word !== 'Go');
  if ([first, ...others].includes(service)) return true;
  const [, prefix = '', name = ''] = /^(.*\.v\d+)\.(\w+)$/.exec(first) ?? [];
  // `GetX509AuthorityState, Prepare, Activate` names PrepareX509Authority and ActivateX509Authority.
  const [, kind = ''] = /^Get(X509|JWT|WIT)AuthorityState$/.exec(name) ?? [];
  const named = [name, ...others, ...others.map((word) => `${word}${kind}Authority`)];
  if (prefix === service && named.includes(method)) return true;
  return others.includes(`${service}.${method}`);
}

function testsOf({ standard, section, words, also }: Requirement, tests: readonly TestResult[]): readonly TestResult[] {
  return tests.filter(
    ({ fullName }) =>
      words.test(fullName) &&
      tagsOf(fullName).some((tag) =>
        sectionsOf(tag, standard).some((at) => [section, ...also].some((wanted) => isWithin(at, wanted))),
      ),
  );
}

/** The sections that a tag such as `Workload API §5.2, §6.2` names of a standard; the words before a name do not matter. */
function sectionsOf(tag: string, standard: string): readonly string[] {
  const [, name = '', sections = ''] = /^([^§]*)(§.*)$/.exec(tag) ?? [];
  if (name.trim().replace(/^SPIFFE /, '') !== standard) return [];
  return [...sections.matchAll(/§([\d.]+)/g)].map(([, section = '']) => section.replace(/\.$/, ''));
}

const isWithin = (section: string, outer: string): boolean => section === outer || section.startsWith(`${outer}.`);

const CLIENTS: readonly (readonly [RegExp, string])[] = [
  [/go-spiffe/i, 'go-spiffe'],
  [/py-spiffe/i, 'py-spiffe'],
  [/crypto\/x509/, 'crypto/x509'],
  [/spire-server/, 'spire-server'],
  [/SPIRE agent/, 'SPIRE agent'],
  [/SPIRE server/, 'SPIRE server'],
  [/, Go\]|Go client|needs go\b/, 'Go'],
  [/\[jose\]/, 'jose'],
  [/openssl/i, 'openssl'],
  [/zlint/, 'zlint'],
  [/pkilint/, 'pkilint'],
  [/Wycheproof/i, 'Wycheproof'],
  [/Envoy/, 'Envoy'],
];

function clientsOf(tests: readonly TestResult[]): string {
  const named = tests.map(({ fullName }) => CLIENTS.filter(([pattern]) => pattern.test(fullName)).map(([, name]) => name));
  const names = named.flatMap((found) => (found.length === 0 ? ['own'] : found));
  return [...new Set(names)].sort().join(', ');
}

const MAX_TITLES = 3;

function titlesOf(tests: readonly TestResult[]): string {
  const titles = [...new Set(tests.map(({ title }) => title.replaceAll(/\[[^\]]+\] ?/g, '').trim()))];
  const shown = titles.slice(0, MAX_TITLES).map((title) => (title.length > 100 ? `${title.slice(0, 100)}…` : title));
  const rest = titles.length - shown.length;
  return rest > 0 ? `${shown.join('; ')}; and ${rest} more` : shown.join('; ');
}

function resultOf(tests: readonly TestResult[], note: string | undefined): string {
  const count = (status: string): number => tests.filter((test) => test.status === status).length;
  const [passed, failed] = [count('passed'), count('failed')];
  const skipped = tests.length - passed - failed;
  if (failed > 0) return `FAILED (${failed} of ${tests.length})`;
  if (passed > 0) return skipped > 0 ? `passed (${passed}; ${skipped} skipped)` : `passed (${passed})`;
  if (skipped > 0) return `skipped (${skipped})`;
  return note === undefined ? 'not tested' : '–';
}

function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;')).join(' | ')} |`;
}

/** Writes docs/conformance.md. */
export function writeConformance(reports: readonly string[]): void {
  writeFileSync(join(ROOT, 'docs/conformance.md'), formatConformance(readReports(reports), readRequirements()));
}

if (import.meta.main) writeConformance(process.argv.slice(2));
