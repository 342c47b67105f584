// What docs/authorization.md has from the conformance table, each between two marks: its examples, and how it comes out at the enforcement points.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { SCENARIOS } from '../test/support/policy/conformance-table.ts';
import {
  ENFORCEMENT_POINTS,
  standingsOf,
  whyNotCarried,
  type EnforcementPoint,
  type Standing,
} from '../test/support/policy/enforcement-points.ts';
import type { Row, Scenario } from '../test/support/policy/table-types.ts';

const FILE = join(import.meta.dirname, '../docs/authorization.md');
/** What is written, by the marks that it stands between. */
const WRITTEN = [
  {
    begin: '<!-- points: written by `npm run generate` from test/support/policy/enforcement-points.ts -->',
    end: '<!-- end of the points -->',
    text: points,
  },
  {
    begin: '<!-- examples: written by `npm run generate` from test/support/policy/conformance-table.ts -->',
    end: '<!-- end of the examples -->',
    text: () =>
      SCENARIOS.filter(({ isShown }) => isShown)
        .map(section)
        .join('\n\n'),
  },
] as const;

/** The guide as it would be written now. */
export function authorizationGuide(): string {
  return WRITTEN.reduce(
    (guide, { begin, end, text }) => {
      const [before, rest] = guide.split(begin);
      const after = rest?.split(end)[1];
      if (before === undefined || after === undefined) throw new Error(`docs/authorization.md has lost the mark ${begin}`);
      return `${before}${begin}\n\n${text()}\n\n${end}${after}`;
    },
    readFileSync(FILE, 'utf8'),
  );
}

/** Writes them. */
export function writeAuthorizationGuide(): void {
  writeFileSync(FILE, authorizationGuide());
}

/** Whether docs/authorization.md is what would be written. */
export function isAuthorizationGuideCurrent(): boolean {
  return readFileSync(FILE, 'utf8') === authorizationGuide();
}

const STANDINGS: Readonly<Record<Standing, string>> = {
  same: 'the same answer',
  'refused by itself': 'refused by the proxy or server itself, before it asks; denied in the table too',
  'denied otherwise': 'denied for another reason',
  narrower: 'denied, where the engine allows',
  wider: 'allowed as it goes on, where the engine denies it as it came',
  'not carried': 'not asked',
};

function points(): string {
  const all: readonly EnforcementPoint[] = Object.values(ENFORCEMENT_POINTS);
  const counts = all.map(standingsOf);
  const head = [`| of ${SCENARIOS.flatMap(({ rows }) => rows).length} calls`, ...all.map(({ name }) => name)].join(' | ');
  const lines = Object.entries(STANDINGS).map(([standing, text]) => {
    // The cast is sound: these are the keys of the record above.
    const cells = counts.map((each) => each.get(standing as Standing) ?? 0);
    return `| ${text} | ${cells.join(' | ')} |`;
  });
  return [`${head} |\n|${' --- |'.repeat(all.length + 1)}\n${lines.join('\n')}`, ...all.map(differencesOf)].join('\n\n');
}

function differencesOf(point: EnforcementPoint): string {
  const named = point.differences.map(({ reason, calls }) => `- ${reason} (${calls.length})`);
  const unasked = [...whyNotCarried(point)].map(([reason, count]) => `- not asked, ${reason} (${count})`);
  return [`${point.name}:\n`, ...named, ...(point.unseen === undefined ? [] : [`- ${point.unseen}`]), ...unasked].join('\n');
}

function section({ title, text, policies, rows, defaultAction = 'deny' }: Scenario): string {
  const yaml = policies.map((each) => stringify(each, { lineWidth: 0, aliasDuplicateObjects: false }).trim()).join('\n---\n');
  const shown = policies.length === 0 ? 'No policies.' : `\`\`\`yaml\n${yaml}\n\`\`\``;
  const head = `| caller | call | default \`${defaultAction}\` |\n| --- | --- | --- |`;
  return [`### ${title}`, ...(text === '' ? [] : [text]), shown, `${head}\n${rows.map(line).join('\n')}`].join('\n\n');
}

function line([caller, request, expected, extras = {}]: Row): string {
  const { to, host, headers = [], user, unseen } = extras;
  const more = [
    ...(to === undefined ? [] : [`to ${to}`]),
    ...(host === undefined ? [] : [`host ${code(host)}`]),
    ...headers.map(([name, value]) => code(`${name}: ${value}`)),
    ...(user === undefined ? [] : [`user ${user}`]),
    ...(unseen === undefined ? [] : [`not seen: ${unseen.join(', ')}`]),
  ];
  const call =
    request === 'connect'
      ? 'a connection'
      : code(request.length > 60 ? `${request.slice(0, 40)}… (${request.length} characters)` : request);
  return `| ${caller} | ${[call, ...more].join('; ')} | ${expected} |`;
}

/** As code that a table cell can hold; what cannot be seen is written as its escape. */
function code(text: string): string {
  const visible = JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(/[^ -~]/g, (each) => `\\u${(each.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
  return `\`${visible.replaceAll('|', String.raw`\|`)}\``;
}
