import { callersOf, type OperationCallers, type OperationRule } from '../../policy/callers.ts';
import type { Snapshot } from '../../policy/compile/snapshot.ts';
import { parseOpenApi, type DescribedOperation } from '../../policy/documents/openapi.ts';
import type { Destination } from '../../policy/model.ts';
import type { SourceClause } from '../../policy/resources/source-clause.ts';
import { usage, type Invocation } from '../command.ts';
import { readFileOrInput } from '../input-file.ts';
import { callOfOptions } from '../policy/call-of-options.ts';
import { policyText } from '../policy/explanation-text.ts';
import { inFile } from '../policy/named-faults.ts';
import { documentOf } from '../policy/yaml-documents.ts';

interface Judged extends OperationCallers {
  readonly operation: DescribedOperation;
}

/** Prints who may call each operation of `--openapi`; how many nobody or everybody may call. */
export async function testOpenApi(invocation: Invocation, snapshot: Snapshot): Promise<number> {
  const destination = destinationOf(invocation);
  const file = invocation.requiredText('openapi');
  const document = await documentOf(await readFileOrInput(invocation, file), file);
  const operations = inFile(file, () => parseOpenApi(document));
  const judged = operations.map((operation): Judged => ({ operation, ...callersOf(snapshot, destination, operation) }));
  invocation.terminal.write(invocation.text('output') === 'json' ? jsonOf(judged) : textOf(judged));
  return judged.filter(({ callers }) => callers !== 'some').length;
}

function destinationOf(invocation: Invocation): Destination {
  const { destination } = callOfOptions(invocation, 0);
  if (destination.namespace === undefined && destination.spiffeId === undefined && destination.selectors.size === 0) {
    throw usage(invocation.command, 'say whose API it is: --to-namespace with --to-service-account or --selector, or --to ID');
  }
  return destination;
}

function textOf(judged: readonly Judged[]): string {
  const counted = (callers: string): number => judged.filter((each) => each.callers === callers).length;
  const lines = judged.map(({ operation, callers, reason, rules }) => {
    const who = callers === 'some' ? '' : ` ${callers}${reason === undefined ? '' : ` (${reason})`}`;
    return [`${operation.method} ${operation.shownPath}:${who}`, ...rules.map((rule) => `  ${ruleText(rule)}`), ''].join('\n');
  });
  return `${lines.join('')}${judged.length} operations; nobody may call ${counted('nobody')}, everybody ${counted('everybody')}\n`;
}

function ruleText({ effect, from, isConditional, policy, rule }: OperationRule): string {
  const who = from.length === 0 ? 'everybody' : from.map((clause) => clauseText(clause, policy.namespace)).join(', or ');
  const limits = isConditional ? ', under conditions' : '';
  return `${effect === 'allow' ? 'may' : 'may not'}: ${who}${limits} (rule ${rule} of ${policyText(policy)})`;
}

function clauseText({ not, ...fields }: SourceClause, namespace: string): string {
  const said = fieldsText(fields, namespace);
  const excluded = not === undefined ? '' : ` except ${fieldsText(not, namespace)}`;
  return `${said === '' ? 'everybody' : said}${excluded}`;
}

function fieldsText(fields: Omit<SourceClause, 'not'>, namespace: string): string {
  const { spiffeIDs, trustDomains, namespaces, serviceAccounts, ipBlocks, users } = fields;
  const texts = [
    spiffeIDs?.join(' or '),
    trustDomains && `trust domain ${trustDomains.join(' or ')}`,
    namespaces && `namespace ${namespaces.join(' or ')}`,
    serviceAccounts &&
      `service account ${serviceAccounts.map((each) => (each.includes('/') ? each : `${namespace}/${each}`)).join(' or ')}`,
    ipBlocks && `address ${ipBlocks.join(' or ')}`,
    users && `user ${users.map((user) => userText(user)).join(' or ')}`,
  ];
  return texts.filter((text) => text !== undefined).join(', with ');
}

function userText({ issuer, subjects, roles, scopes }: NonNullable<SourceClause['users']>[number]): string {
  const texts = [
    subjects?.join('|'),
    roles && `of role ${roles.join('|')}`,
    scopes && `with scope ${scopes.join(' ')}`,
    issuer && `from ${issuer}`,
  ];
  return texts.filter((text) => text !== undefined).join(' ');
}

function jsonOf(judged: readonly Judged[]): string {
  const written = judged.map(({ operation: { method, shownPath: path, id }, callers, reason, rules }) => ({
    method,
    path,
    operationId: id,
    callers,
    reason,
    rules,
  }));
  return `${JSON.stringify(written, undefined, 2)}\n`;
}
