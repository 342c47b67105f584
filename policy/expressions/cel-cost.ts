import type { ASTNode } from '@marcbachmann/cel-js';
import { IdentityError } from '../../core/errors.ts';
import type { CallField } from '../model.ts';

/** Most entries of a list in a call; conditions over longer ones fail. */
export const MAX_LIST = 256;
/** Most steps that a condition may take in the worst case: some milliseconds. */
const MAX_COST = 50_000;

const FUNCTIONS = new Set(
  'size has int uint double string bool timestamp duration dyn type contains startsWith endsWith matches lowerAscii upperAscii trim substring indexOf lastIndexOf getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours getMinutes getSeconds getMilliseconds'.split(
    ' ',
  ),
);
const LOOPS = new Set(['all', 'exists', 'exists_one', 'filter', 'map']);

/** What an expression may cost and what it reads. */
export interface Examined {
  readonly fields: ReadonlySet<CallField>;
  /** Calls of `matches`, each with its literal expression. */
  readonly matches: readonly { readonly receiverEnd: number; readonly regex: string }[];
}

interface Walk {
  readonly fields: Set<CallField>;
  readonly matches: { receiverEnd: number; regex: string }[];
  /** Variables of the loops around. */
  readonly bound: ReadonlySet<string>;
}

/**
 * Walks through an expression. Only functions whose cost is bounded may occur, loops only over lists that are written down or come from
 * the call, and `matches` only with a literal.
 *
 * @throws IdentityError `invalid_argument`
 */
export function examine(ast: ASTNode): Examined {
  const walk: Walk = { fields: new Set(), matches: [], bound: new Set() };
  const cost = costOf(ast, walk);
  if (cost > MAX_COST) throw refused(`could take ${cost} steps, more than ${MAX_COST}; loop less deep`);
  return walk;
}

function costOf(node: ASTNode, walk: Walk): number {
  if (node.op === 'value') return 1;
  if (node.op === 'id') return costOfName(node.args, walk);
  if (node.op === 'call') return costOfCall(node.args[0], undefined, node.args[1], walk);
  if (node.op === 'rcall') return costOfCall(node.args[0], node.args[1], node.args[2], walk);
  if (node.op === '.' && node.args[0].op === 'id' && isRoot(node.args[0].args, walk))
    return costOfField(node.args[0].args, node.args[1], walk);
  return 1 + nodesIn(node.args).reduce((sum, child) => sum + costOf(child, walk), 0);
}

/** Whoever reads `request` as a whole reads all of it. */
function costOfName(name: string, walk: Walk): number {
  if (!isRoot(name, walk)) return 1;
  for (const [path, field] of Object.entries(FIELDS)) if (path.startsWith(`${name}.`)) walk.fields.add(field);
  if (name === 'user') walk.fields.add('user');
  return 1;
}

function costOfField(root: string, name: string, { fields }: Walk): number {
  const field = root === 'user' ? 'user' : FIELDS[`${root}.${name}`];
  if (field !== undefined) fields.add(field);
  return 1;
}

const isRoot = (name: string, { bound }: Walk): boolean => !bound.has(name);

function costOfCall(name: string, receiver: ASTNode | undefined, args: readonly ASTNode[], walk: Walk): number {
  if (receiver !== undefined && LOOPS.has(name)) return costOfLoop(receiver, args, walk);
  if (!FUNCTIONS.has(name)) throw refused(`must not call ${name}`);
  if (name === 'matches') noteMatch(receiver, args, walk);
  const parts = receiver === undefined ? args : [receiver, ...args];
  return (name === 'matches' ? 50 : 1) + parts.reduce((sum, each) => sum + costOf(each, walk), 0);
}

function costOfLoop(range: ASTNode, [variable, ...body]: readonly ASTNode[], walk: Walk): number {
  const length = lengthOf(range);
  const name = variable?.op === 'id' ? variable.args : '';
  const inner = { ...walk, bound: new Set([...walk.bound, name]) };
  return costOf(range, walk) + length * body.reduce((sum, each) => sum + costOf(each, inner), 1);
}

function lengthOf(range: ASTNode): number {
  if (range.op === 'list') return range.args.length;
  if (range.op === '.' || range.op === '[]' || range.op === 'id') return MAX_LIST;
  if (range.op === 'rcall' && LOOPS.has(range.args[0])) return lengthOf(range.args[1]);
  throw refused('may loop over lists of the call only, and over lists that are written down');
}

function noteMatch(receiver: ASTNode | undefined, [pattern]: readonly ASTNode[], { matches }: Walk): void {
  if (receiver === undefined || pattern?.op !== 'value' || typeof pattern.args !== 'string') {
    throw refused('may give `matches` nothing but a literal');
  }
  matches.push({ receiverEnd: receiver.range.end, regex: pattern.args });
}

const FIELDS: Readonly<Record<string, CallField>> = {
  'source.spiffeID': 'source.spiffeId',
  'source.trustDomain': 'source.spiffeId',
  'source.namespace': 'source.workload',
  'source.serviceAccount': 'source.workload',
  'source.address': 'source.address',
  'destination.port': 'destination.port',
  'request.method': 'request.method',
  'request.host': 'request.host',
  'request.path': 'request.path',
  'request.headers': 'request.headers',
  'request.grpc': 'request.grpc',
};

// The library hands operands over as one node, or as lists of nodes, texts and pairs.
function nodesIn(args: unknown): ASTNode[] {
  if (Array.isArray(args)) return args.flatMap(nodesIn);
  // The cast is sound: of what may stand here, only nodes are objects with an operator.
  return typeof args === 'object' && args !== null && 'op' in args ? [args as ASTNode] : [];
}

function refused(message: string): IdentityError {
  return new IdentityError('invalid_argument', `the condition ${message}`);
}
