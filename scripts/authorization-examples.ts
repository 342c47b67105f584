// The examples of docs/authorization.md, written from the conformance table between two marks.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { SCENARIOS } from '../test/support/policy/conformance-table.ts';
import type { Row, Scenario } from '../test/support/policy/table-types.ts';

const FILE = join(import.meta.dirname, '../docs/authorization.md');
const BEGIN = '<!-- examples: written by `npm run generate` from test/support/policy/conformance-table.ts -->';
const END = '<!-- end of the examples -->';

/** The guide with its examples as they would be written now. */
export function authorizationGuide(): string {
  const guide = readFileSync(FILE, 'utf8');
  const [before, rest] = guide.split(BEGIN);
  const after = rest?.split(END)[1];
  if (before === undefined || after === undefined) throw new Error('docs/authorization.md has lost the marks of its examples');
  const shown = SCENARIOS.filter(({ isShown }) => isShown).map(section);
  return `${before}${BEGIN}\n\n${shown.join('\n\n')}\n\n${END}${after}`;
}

/** Writes them. */
export function writeAuthorizationGuide(): void {
  writeFileSync(FILE, authorizationGuide());
}

/** Whether docs/authorization.md is what would be written. */
export function isAuthorizationGuideCurrent(): boolean {
  return readFileSync(FILE, 'utf8') === authorizationGuide();
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
